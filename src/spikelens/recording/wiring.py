"""The wiring of the network that made the spikes: its synapses as built, and their weights over the run.

Only the judge, the report, and features and methods that declare the network in `reads` import this module. Synapses are read block by
block, and matrices contain only the given neurons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.layouts import StoreName, block_group
from spikelens.numerics import UNITS_PER_MV
from spikelens.recording.synapses import Synapses
from spikelens.stores import read_shard

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
    """Weight of each of a block's synapses, averaged over the run, (n_synapses,) [mV]; at the run's end if averages are not stored."""
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
    """Index of each neuron in `neurons`, (n_neurons,); -1 for all others."""
    place = np.full(run.n_neurons, -1, np.int64)
    place[neurons] = np.arange(len(neurons))
    return place


def pairs_among(run: RunConfig, place: Ids, block: int) -> tuple[tuple[Ids, Ids], NDArray[np.bool_]]:
    """Indices of source and target of a block's synapses among some neurons (`places_of`), and a mask of these synapses."""
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


def built_synapses(run: RunConfig, block: int) -> Synapses:
    """Read the synapses onto a block's neurons, with their weights at the start of the run."""
    group = block_group(run, "network", block)
    return Synapses(**{name: read_shard(group, name, (0,))[: group.attrs["n_synapses"]] for name in group.arrays})


def weights_at(run: RunConfig, block: int, boundary: int) -> NDArray[np.int32]:
    """Weights of a block's synapses at the end of a segment, or at the start (boundary -1), (n_synapses,) [2^-16 mV]."""
    if boundary < 0:
        return _synapses(run, block, "network", "weight")
    weight: NDArray[np.int32] = _synapses(run, block, "weights", "weight", boundary)[0]
    return weight


def read_synapses(run: RunConfig, segment: int, block: int) -> tuple[Synapses, NDArray[np.int32]]:
    """Read the synapses onto a block's neurons, with their weights and pending weight changes at a segment's start."""
    built = built_synapses(run, block)
    if segment == 0:
        return built, np.zeros(len(built), np.int32)
    weight = weights_at(run, block, segment - 1)
    change: NDArray[np.int32] = _synapses(run, block, "state", "weight_change", segment - 1)[0]
    return replace(built, weight=weight), change
