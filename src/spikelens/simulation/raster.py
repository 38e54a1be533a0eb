"""Spike lists of a segment as pieces of its raster, made dense one Zarr chunk at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND


class Raster:
    """The spikes of a rank's neurons, second by second: how many in each step, and which neurons, increasing within a step.

    Pieces of the raster are asked for in the order of their neurons for any one step, so that each step keeps its place in the list
    and no spike is looked at twice.
    """

    def __init__(self) -> None:
        self._ids: list[NDArray[np.int32]] = []
        self._next: list[NDArray[np.int64]] = []
        self._end: list[NDArray[np.int64]] = []

    @property
    def n_seconds(self) -> int:
        return len(self._ids)

    def append(self, counts: NDArray[np.int64], ids: NDArray[np.int32]) -> None:
        """Add a second: (1000,) spikes in each step, (n_spikes,) local ids step by step, increasing within each."""
        ends = np.cumsum(counts)
        self._ids.append(ids)
        self._next.append(ends - counts)
        self._end.append(ends)

    def piece(self, start: int, end: int, first: int, last: int) -> NDArray[np.bool_]:
        """Steps [start, end) from the segment's start of the neurons [first, last), (end - start, last - first) bool.

        Neurons before `first` must have been asked for, those from `first` on not yet.
        """
        dense = np.zeros((end - start, last - first), np.bool_)
        while start < end:
            second, step = divmod(start, STEPS_PER_SECOND)
            n_steps = min(STEPS_PER_SECOND - step, end - start)
            steps = slice(step, step + n_steps)
            rows = dense[len(dense) - (end - start) :]
            _mark(rows, self._next[second][steps], self._end[second][steps], self._ids[second], first, last)
            start += n_steps
        return dense

    def ids_of(self, second: int) -> NDArray[np.int32]:
        """The local ids of a second's spikes, (n_spikes,), step by step."""
        return self._ids[second]

    def n_spikes(self, n_neurons: int) -> NDArray[np.int64]:
        """Spikes of each of the rank's neurons, (n_neurons,)."""
        total = np.zeros(n_neurons, np.int64)
        for ids in self._ids:
            total += np.bincount(ids, minlength=n_neurons)
        return total


@compiled
def _mark(rows: NDArray[np.bool_], place: NDArray[np.int64], end: NDArray[np.int64], ids: NDArray[np.int32], first: int, last: int) -> None:
    """Set the spikes of the neurons [first, last) in rows (n_steps, last - first), and move each step's place past them."""
    for step in range(len(place)):
        k = place[step]
        while k < end[step] and ids[k] < last:
            rows[step, np.uint64(ids[k] - first)] = True
            k += 1
        place[step] = k
