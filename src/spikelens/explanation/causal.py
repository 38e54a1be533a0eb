"""Causal components of pairs of neurons, summed over the windows and synapses of the features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.outputs import feature_block, feature_output
from spikelens.recording.wiring import pairs_among, places_of
from spikelens.stores import read_shard

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def of_pairs(run: RunConfig, feature: str, neurons: Ids, windows: range) -> Floats:
    """Sum a feature of all pairs of the given neurons over windows, [source, target]."""
    group = feature_output(run, feature)
    array = group.arrays["omega"]
    total = np.zeros((len(neurons), len(neurons)))
    for index in array.indices():
        held, _, block = array.region(index)
        rows = slice(max(windows.start, held.start) - held.start, min(windows.stop, held.stop) - held.start)
        columns = slice(*np.searchsorted(neurons, (block.start, block.stop)))
        if rows.start < rows.stop and columns.start < columns.stop:
            shard = read_shard(group, "omega", index)[rows].sum(0, dtype=np.float64)
            total[:, columns] += shard[np.ix_(neurons, neurons[columns] - block.start)]
    return total


def of_synapses(run: RunConfig, feature: str, neurons: Ids, array: str) -> Floats:
    """Sum a feature of synapses over the whole run and over the synapses of each pair of the given neurons, [source, target]."""
    place = places_of(run, neurons)
    total = np.zeros((len(neurons), len(neurons)))
    for block in range(run.n_blocks):
        pairs, kept = pairs_among(run, place, block)
        group = feature_block(run, feature, block)
        parts = [read_shard(group, array, (segment, 0))[:, : len(kept)].sum(0, dtype=np.float64) for segment in range(run.n_segments)]
        np.add.at(total, pairs, np.sum(parts, axis=0)[kept])
    return total
