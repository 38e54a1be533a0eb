"""The wiring of the network that made the spikes: its synapses as built, and their weights over the run.

This is the one door to the truth. Only the judge, the report and what says that it saw the wiring read here. Synapses are read a block
at a time; matrices are made for chosen neurons only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.recording.synapses import Synapses
from spikelens.stores import UNITS_PER_MV, StoreName, block_group, read_shard

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Wiring:
    """The synapses among some neurons; matrices are [source, target], sums over the synapses of a pair, 0 where there is none."""

    synapse: NDArray[np.bool_]
    plastic: NDArray[np.bool_]
    weight: Floats
    """Time-averaged [mV]."""


def _synapses(run: RunConfig, block: int, store: StoreName, array: str, segment: int = 0) -> NDArray[Any]:
    """One array of a block's synapses; those of `network` have no segments."""
    group = block_group(run, store, block)
    index = (0,) if store == "network" else (segment, 0)
    return read_shard(group, array, index)[..., : group.attrs["n_synapses"]]


def _mean_weight(run: RunConfig, block: int) -> Floats:
    """Weight of each of a block's synapses, averaged over the run, (n_synapses,) [mV]; at the run's end if averages are not kept."""
    if not run.weight_average:
        end: Floats = _synapses(run, block, "weights", "weight", run.n_segments - 1)[0] / UNITS_PER_MV
        return end
    total = np.zeros(block_group(run, "weights", block).attrs["n_synapses"])
    for segment in range(run.n_segments):
        first, last = run.segment_range(segment)
        total += _synapses(run, block, "weights", "weight_average", segment)[0].astype(np.float64) * (last - first)
    return total / run.n_steps


def read_wiring(run: RunConfig, neurons: Ids) -> Wiring:
    """Read the synapses among the given neurons, a block at a time."""
    n, place = len(neurons), places_of(run, neurons)
    synapse, plastic = np.zeros((n, n), bool), np.zeros((n, n), bool)
    weight = np.zeros((n, n))
    for block in range(run.n_blocks):
        pairs, kept = pairs_among(run, place, block)
        synapse[pairs] = True
        plastic[pairs] |= _synapses(run, block, "network", "plastic")[kept]
        np.add.at(weight, pairs, _mean_weight(run, block)[kept])
    return Wiring(synapse, plastic, weight)


def places_of(run: RunConfig, neurons: Ids) -> Ids:
    """Place of each neuron among some, (n_neurons,); -1 for the others."""
    place = np.full(run.n_neurons, -1, np.int64)
    place[neurons] = np.arange(len(neurons))
    return place


def pairs_among(run: RunConfig, place: Ids, block: int) -> tuple[tuple[Ids, Ids], NDArray[np.bool_]]:
    """Places of source and target of the block's synapses among some neurons (`places_of`), and which synapses these are."""
    source, target = (place[_synapses(run, block, "network", end)] for end in ("source", "target"))
    kept = (source >= 0) & (target >= 0)
    return (source[kept], target[kept]), kept


def mean_weights(run: RunConfig) -> dict[str, Floats]:
    """Each neuron's mean weight over the synapses onto it and over those it sends, (n_neurons,) [mV]; NaN where it has none."""
    n = run.n_neurons
    sums = {"in_weight": np.zeros(n), "out_weight": np.zeros(n)}
    counts = {"in_weight": np.zeros(n), "out_weight": np.zeros(n)}
    for block in range(run.n_blocks):
        weight = _mean_weight(run, block)
        for name, end in (("in_weight", "target"), ("out_weight", "source")):
            ids = _synapses(run, block, "network", end)
            sums[name] += np.bincount(ids, weight, n)
            counts[name] += np.bincount(ids, minlength=n)
    return {name: np.divide(sums[name], counts[name], out=np.full(n, np.nan), where=counts[name] > 0) for name in sums}


def read_synapses(run: RunConfig, segment: int, block: int) -> tuple[Synapses, NDArray[np.int32]]:
    """Read the synapses onto a block's neurons, with their weights and pending weight changes at a segment's start."""
    network = block_group(run, "network", block)
    n = network.attrs["n_synapses"]
    columns = {name: read_shard(network, name, (0,))[:n] for name in network.arrays}
    change = np.zeros(n, np.int32)
    if segment > 0:
        boundary = (segment - 1, 0)
        columns["weight"] = read_shard(block_group(run, "weights", block), "weight", boundary)[0, :n]
        change = read_shard(block_group(run, "state", block), "weight_change", boundary)[0, :n]
    return Synapses(**columns), change
