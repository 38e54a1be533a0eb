"""What the explanation is held against: the synapses as built, their weights over the run, and their causal components.

Synapses are read a block at a time; matrices are only ever made for the neurons that a model attends to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.stores import UNITS_PER_MV, StoreName, block_group, layout, read_shard

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]
Range = tuple[int, int]


@dataclass(frozen=True)
class Wiring:
    """The synapses among some neurons; matrices are [source, target], sums over the synapses of a pair, 0 where there is none."""

    synapse: NDArray[np.bool_]
    plastic: NDArray[np.bool_]
    weight: Floats
    """Time-averaged [mV]."""
    omega: Floats
    """Causal components over the whole run, with weight and delay [mV]."""
    omega_unweighted: Floats
    """The same without weight [1]."""


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


def _omega(run: RunConfig, block: int, array: str) -> Floats:
    """Causal component of each of a block's synapses over the whole run, (n_synapses,)."""
    parts = [_synapses(run, block, "features", array, segment).sum(0, dtype=np.float64) for segment in range(run.n_segments)]
    total: Floats = np.sum(parts, axis=0)
    return total


def read_wiring(run: RunConfig, neurons: Ids) -> Wiring:
    """Read the synapses among the given neurons, a block at a time."""
    n = len(neurons)
    place = np.full(run.network.neurons, -1, np.int64)
    place[neurons] = np.arange(n)
    synapse, plastic = np.zeros((n, n), bool), np.zeros((n, n), bool)
    weight, omega, omega_unweighted = (np.zeros((n, n)) for _ in range(3))
    for block in range(run.n_blocks):
        source, target = (place[_synapses(run, block, "network", end)] for end in ("source", "target"))
        kept = (source >= 0) & (target >= 0)
        pairs = source[kept], target[kept]
        synapse[pairs] = True
        plastic[pairs] |= _synapses(run, block, "network", "plastic")[kept]
        np.add.at(weight, pairs, _mean_weight(run, block)[kept])
        np.add.at(omega, pairs, _omega(run, block, "omega")[kept])
        np.add.at(omega_unweighted, pairs, _omega(run, block, "omega_unweighted")[kept])
    return Wiring(synapse, plastic, weight, omega, omega_unweighted)


def mean_weights(run: RunConfig) -> dict[str, Floats]:
    """Each neuron's mean weight over the synapses onto it and over those it sends, (n_neurons,) [mV]; NaN where it has none."""
    n = run.network.neurons
    sums = {"in_weight": np.zeros(n), "out_weight": np.zeros(n)}
    counts = {"in_weight": np.zeros(n), "out_weight": np.zeros(n)}
    for block in range(run.n_blocks):
        weight = _mean_weight(run, block)
        for name, end in (("in_weight", "target"), ("out_weight", "source")):
            ids = _synapses(run, block, "network", end)
            sums[name] += np.bincount(ids, weight, n)
            counts[name] += np.bincount(ids, minlength=n)
    return {name: np.divide(sums[name], counts[name], out=np.full(n, np.nan), where=counts[name] > 0) for name in sums}


def omega_windows(run: RunConfig, time_range: Range) -> range:
    """The windows of the causal components that lie wholly in a range [ms]."""
    length = run.features.omega_window_s * STEPS_PER_SECOND
    start, end = time_range
    # the run's last window may be short
    last = -(-run.n_steps // length) if end >= run.n_steps else end // length
    return range(-(-start // length), last)


def windows_range(run: RunConfig, windows: range) -> Range:
    """The time that windows of the causal components cover [ms]."""
    length = run.features.omega_window_s * STEPS_PER_SECOND
    return windows.start * length, min(windows.stop * length, run.n_steps)


def read_omega_dense(run: RunConfig, neurons: Ids, windows: range) -> Floats:
    """Causal components of all pairs of the given neurons, without weight and delay, summed over windows, [source, target]."""
    group = layout(run, "features")
    array = group.arrays["omega_dense"]
    total = np.zeros((len(neurons), len(neurons)))
    for index in array.indices():
        held, _, block = array.region(index)
        rows = slice(max(windows.start, held.start) - held.start, min(windows.stop, held.stop) - held.start)
        columns = slice(*np.searchsorted(neurons, (block.start, block.stop)))
        if rows.start < rows.stop and columns.start < columns.stop:
            shard = read_shard(group, "omega_dense", index)[rows].sum(0, dtype=np.float64)
            total[:, columns] += shard[np.ix_(neurons, neurons[columns] - block.start)]
    return total
