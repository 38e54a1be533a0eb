"""The layout of network.zarr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spikelens.config import MAX_DELAY_MS, RunConfig
from spikelens.numerics import UNITS_PER_MV, stdp_tables
from spikelens.recording.layout import neuron_coordinates
from spikelens.stores import Array, Coordinate, Layout


def in_mv(long_name: str) -> dict[str, Any]:
    """Attributes of an integer array in units of 2^-16 mV; xarray shows mV."""
    return {"long_name": long_name, "units": "mV", "scale_factor": 1 / UNITS_PER_MV}


def network_layout(run: RunConfig) -> Layout:
    n, size = run.network.neurons, run.network.block_size
    arrays = {
        "in_degree": Array(("neuron",), (n,), (size,), "int32", {"long_name": "in-degree", "units": "1"}, by=("block",)),
        "in_weight": Array(("neuron",), (n,), (size,), "int64", in_mv("sum of the weights onto a neuron at the start"), by=("block",)),
        "delay_histogram": Array(
            ("block", "delay"),
            (run.n_blocks, MAX_DELAY_MS + 1),
            (1, MAX_DELAY_MS + 1),
            "int64",
            {"long_name": "synapses of a block by delay", "units": "1"},
            by=("block", ""),
        ),
    }
    ltd, ltp = stdp_tables()
    lag = {"units": "mV", "scale_factor": 1 / UNITS_PER_MV}
    coordinates = {
        **neuron_coordinates(run),
        "delay": Coordinate(("delay",), np.arange(MAX_DELAY_MS + 1, dtype=np.int64), {"long_name": "delay", "units": "ms"}),
        "ltd": Coordinate(("lag",), ltd, {"long_name": "depression at an arrival lag+1 ms after a spike", **lag}),
        "ltp": Coordinate(("lag",), ltp, {"long_name": "potentiation at a spike lag ms after an arrival", **lag}),
    }
    return arrays, coordinates


def network_block_layout(run: RunConfig, block: int, n: int) -> Layout:
    def array(dtype: str, stored: float, attrs: Mapping[str, Any]) -> Array:
        return Array(("synapse",), (n,), (n,), dtype, attrs, stored=stored)

    network = run.network
    one_weight_each = network.edges is None and all(isinstance(of.weight_mv, float) for of in network.connections.values())
    # fractions on disk: measured on the reference network, those of sources on networks of up to 100,000 neurons
    return {
        "source": array("int32", 0.4, {"long_name": "id of the source neuron"}),
        "target": array("int32", 0.01, {"long_name": "id of the target neuron"}),
        "delay": array("uint8", 0.5, {"long_name": "delay", "units": "ms"}),
        "weight": array("int32", 0.01 if one_weight_each else 0.85, in_mv("weight at the start")),
        "plastic": array("bool", 0.03, {"long_name": "changed by STDP"}),
    }, {}
