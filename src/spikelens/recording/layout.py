"""The layout of the spikes, and coordinates of neurons and segments."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.stores import Array, Coordinate, Layout, time_coordinate


def neuron_coordinates(run: RunConfig, ids: NDArray[np.int64] | None = None) -> dict[str, Coordinate]:
    """Ids and populations of the given neurons (None: of all)."""

    def neurons() -> NDArray[np.int64]:
        return np.arange(run.n_neurons, dtype=np.int64) if ids is None else ids

    def populations() -> NDArray[Any]:
        names = np.array(list(run.populations), dtype=np.dtypes.StringDType())
        firsts = [first for first, _ in run.populations.values()]
        return names[np.searchsorted(firsts, neurons(), side="right") - 1]

    return {
        "neuron": Coordinate(("neuron",), neurons, {"long_name": "neuron id"}),
        "population": Coordinate(("neuron",), populations, {"long_name": "population"}),
    }


def segment_coordinate(run: RunConfig) -> dict[str, Coordinate]:
    starts = np.arange(run.n_segments, dtype=np.int64) * run.segment_steps
    return {"segment": Coordinate(("segment",), starts, {"long_name": "time of a segment's start", "units": "ms"})}


def boundary_coordinate(run: RunConfig) -> dict[str, Coordinate]:
    ends = np.array([run.segment_range(segment)[1] for segment in range(run.n_segments)], dtype=np.int64)
    return {"boundary": Coordinate(("boundary",), ends, {"long_name": "time of a segment's end", "units": "ms"})}


def spikes_layout(run: RunConfig) -> Layout:
    spikes = Array(
        ("time", "neuron"),
        (run.n_steps, run.n_neurons),
        (run.segment_steps, run.block_size),
        "bool" if run.has_network else "uint8",
        {"long_name": "spike" if run.has_network else "spikes in a millisecond", "units": "1"},
        chunks=(run.chunk_ms, run.chunk_neurons),
        by=("segment", "block"),
    )
    return {"spikes": spikes}, {**time_coordinate(run.n_steps), **neuron_coordinates(run)}
