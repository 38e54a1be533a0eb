"""The layouts of weights.zarr, state.zarr and records.zarr. Boundary k is the end of segment k.

`stored`, the fraction of an array's bytes that remain on disk, was measured on the reference run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.network.layout import in_mv
from spikelens.recording.layout import boundary_coordinate, neuron_coordinates, segment_coordinate
from spikelens.stores import Array, Coordinate, Layout, time_coordinate


def weights_layout(run: RunConfig) -> Layout:
    return {}, {**boundary_coordinate(run), **segment_coordinate(run)}


def weights_block_layout(run: RunConfig, block: int, n: int) -> Layout:
    at_end = in_mv("weight at a segment's end")
    arrays = {"weight": Array(("boundary", "synapse"), (run.n_segments, n), (1, n), "int32", at_end, by=("segment", ""), stored=0.4)}
    if run.weight_average:
        attrs = {"long_name": "weight, mean over a segment", "units": "mV"}
        arrays["weight_average"] = Array(
            ("segment", "synapse"), (run.n_segments, n), (1, n), "float32", attrs, by=("segment", ""), stored=0.7
        )
    return arrays, {**boundary_coordinate(run), **segment_coordinate(run)}


def state_layout(run: RunConfig) -> Layout:
    n, size, boundaries = run.network.neurons, run.network.block_size, run.n_segments
    lags = run.max_delay

    def per_neuron(dtype: str, stored: float, attrs: Mapping[str, Any]) -> Array:
        return Array(("boundary", "neuron"), (boundaries, n), (1, size), dtype, attrs, by=("segment", "block"), stored=stored)

    arrays = {
        "v": per_neuron("float32", 0.9, {"long_name": "membrane potential", "units": "mV"}),
        "u": per_neuron("float32", 0.9, {"long_name": "recovery variable", "units": "mV"}),
        "last_spike": per_neuron("int64", 0.3, {"long_name": "last spike before those in recent_spikes", "units": "ms"}),
        "recent_spikes": Array(
            ("boundary", "lag", "neuron"),
            (boundaries, lags, n),
            (1, lags, size),
            "bool",
            {"long_name": "spike `lag` ms before the boundary", "units": "1"},
            by=("segment", "", "block"),
            stored=0.02,
        ),
        "stamp": Array(
            ("boundary", "block", "field"),
            (boundaries, run.n_blocks, 2),
            (1, 1, 2),
            "int64",
            {"long_name": "step of the boundary, fingerprint of the simulation"},
            by=("segment", "block", ""),
        ),
    }
    lag = Coordinate(("lag",), np.arange(1, lags + 1, dtype=np.int64), {"long_name": "time before the boundary", "units": "ms"})
    return arrays, {**boundary_coordinate(run), **neuron_coordinates(run), "lag": lag}


def state_block_layout(run: RunConfig, block: int, n: int) -> Layout:
    attrs = in_mv("weight change gathered by STDP and not yet spent")
    change = Array(("boundary", "synapse"), (run.n_segments, n), (1, n), "int32", attrs, by=("segment", ""), stored=0.55)
    return {"weight_change": change}, boundary_coordinate(run)


def _recorded(run: RunConfig, dim: str, n: int, dtype: str, stored: float, attrs: Mapping[str, Any]) -> Array:
    """An array of n neurons or synapses at the recorded steps."""
    every = run.simulation.record.every_ms
    shape, shards, chunks = ((steps // every, n) for steps in (run.n_steps, run.segment_steps, run.simulation.chunk_ms))
    return Array(("time", dim), shape, shards, dtype, attrs, chunks=chunks, by=("segment", ""), stored=stored)


def records_layout(run: RunConfig) -> Layout:
    record = run.simulation.record
    coordinates = time_coordinate(run.n_steps // record.every_ms, record.every_ms)
    if not record.neurons:
        return {}, coordinates
    names = {"v": "membrane potential after a step", "u": "recovery variable after a step"}
    arrays = {
        name: _recorded(run, "neuron", len(record.neurons), "float32", 0.9, {"long_name": long_name, "units": "mV"})
        for name, long_name in names.items()
    }
    return arrays, coordinates | neuron_coordinates(run, np.array(record.neurons, np.int64))


@dataclass(frozen=True)
class RecordedSynapses:
    """The synapses that simulation.record chooses: pair by pair as given, those of one pair by delay; each array is (n,)."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    delay: NDArray[np.int64]
    """[ms]"""


ANY_SYNAPSE = RecordedSynapses(*np.zeros((3, 1), np.int64))
"""For a layout that is only asked for the names of its files."""


def recorded_weights_layout(run: RunConfig, synapses: RecordedSynapses) -> Layout:
    """The recorded weights; the names of the files do not depend on the synapses."""
    every = run.simulation.record.every_ms
    coordinates = {
        **time_coordinate(run.n_steps // every, every),
        "source": Coordinate(("synapse",), synapses.source, {"long_name": "id of the source neuron"}),
        "target": Coordinate(("synapse",), synapses.target, {"long_name": "id of the target neuron"}),
        "delay": Coordinate(("synapse",), synapses.delay, {"long_name": "delay", "units": "ms"}),
    }
    weight = _recorded(run, "synapse", len(synapses.source), "int32", 0.4, in_mv("weight in force at the arrivals of a step"))
    return {"weight": weight}, coordinates
