"""Spike lists of a segment, and their conversion to a dense raster one Zarr chunk at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND


class Raster:
    """The spikes of a rank's neurons per second: counts per step, and neurons, sorted within a step.

    For any step, pieces must be requested in the order of their neurons. Each step has a cursor into the
    list, so that each spike is read only once.
    """

    def __init__(self) -> None:
        self._ids: list[NDArray[np.int32]] = []
        self._next: list[NDArray[np.int64]] = []
        self._end: list[NDArray[np.int64]] = []

    @property
    def n_seconds(self) -> int:
        return len(self._ids)

    def append(self, counts: NDArray[np.int64], ids: NDArray[np.int32]) -> None:
        """Add a second: (1000,) spike counts per step; (n_spikes,) local ids ordered by step, then id."""
        ends = np.cumsum(counts)
        self._ids.append(ids)
        self._next.append(ends - counts)
        self._end.append(ends)

    def piece(self, start: int, end: int, first: int, last: int) -> NDArray[np.bool_]:
        """Return the raster of steps [start, end) from the segment's start and neurons [first, last).

        The result is (end - start, last - first) bool. In these steps, neurons before `first` must have been
        requested before, and those from `first` on must not.
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
        """Return the local ids of the spikes in a second, (n_spikes,), ordered by step."""
        return self._ids[second]

    def n_spikes(self, n_neurons: int) -> NDArray[np.int64]:
        """Return the number of spikes of each of the rank's neurons, (n_neurons,)."""
        total = np.zeros(n_neurons, np.int64)
        for ids in self._ids:
            total += np.bincount(ids, minlength=n_neurons)
        return total


@compiled
def _mark(rows: NDArray[np.bool_], place: NDArray[np.int64], end: NDArray[np.int64], ids: NDArray[np.int32], first: int, last: int) -> None:
    """Set the spikes of neurons [first, last) in rows (n_steps, last - first), and advance the cursors."""
    for step in range(len(place)):
        k = place[step]
        while k < end[step] and ids[k] < last:
            rows[step, np.uint64(ids[k] - first)] = True
            k += 1
        place[step] = k
