"""Spikes as lists: two arrays, the step [ms] and the neuron of each spike, ordered by step, then neuron.

Features, models and explanation read spikes here, and so does the report, except where it needs a raster. They work on lists, which are far
shorter than a raster at 1 % occupancy. The stores contain rasters.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.errors import SpikelensError
from spikelens.layouts import layout
from spikelens.stores import Group, read_shard, require

if TYPE_CHECKING:
    import xarray as xr


def read_spikes(run: RunConfig, start: int, end: int, blocks: Iterable[int] | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read a run's spikes in [start, end), clipped to the run. Only shards that overlap are read, one at a time.

    Parameters
    ----------
    start, end : int
        Range of steps; it may extend beyond the run.
    blocks : iterable of int, optional
        Blocks of neurons; None: all.

    Returns
    -------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time, then neuron.

    Raises
    ------
    StoreError
        If a shard is missing, empty or damaged.
    """
    start, end = max(start, 0), min(end, run.n_steps)
    n_neurons = run.n_neurons
    group = layout(run, "spikes")
    spikes = group.arrays["spikes"]
    segments = range(start // run.segment_steps, -(-end // run.segment_steps)) if start < end else range(0)
    keys = [np.empty(0, np.int64)]
    for index in spikes.indices(segments, None if blocks is None else list(blocks)):
        time, neuron = spikes.region(index)
        first, last = max(start, time.start), min(end, time.stop)
        cells = _occupied(group, index, first - time.start, last - time.start)
        step, column = np.divmod(cells.astype(np.int64), neuron.stop - neuron.start)
        keys.append((first + step) * n_neurons + neuron.start + column)
    steps, ids = np.divmod(np.sort(np.concatenate(keys), kind="stable"), n_neurons)  # stable: merges the ordered blocks
    return steps, ids


_recent: OrderedDict[tuple[Path, int, int, int, int], NDArray[np.uint32]] = OrderedDict()
"""Spikes of the shards that this process decoded, least recently used first. A job often reads the same spikes again for its next block."""

RECENT_BYTES = 2**26
"""Maximum size of this cache; part of `features.feature.BASE`."""


def _occupied(group: Group, index: Sequence[int], first: int, last: int) -> NDArray[np.uint32]:
    """Flat indices of the cells with a spike in rows [first, last) of a shard; the index of a cell with n spikes occurs n times.

    Decoded shards are cached, up to `RECENT_BYTES`. A shard that has been rewritten is another file, so it is decoded again.
    """
    path = group.shard_path("spikes", index)
    require([path])
    file = path.stat()
    key = (path, file.st_ino, file.st_mtime_ns, first, last)
    if key in _recent:
        _recent.move_to_end(key)
        return _recent[key]
    raster = read_shard(group, "spikes", index, slice(first, last))
    cells = np.flatnonzero(raster)
    if raster.dtype != np.bool_:  # a recording: a cell may count several spikes
        cells = np.repeat(cells, raster.ravel()[cells])
    _recent[key] = kept = cells.astype(np.uint32)  # a shard has less than 2^32 cells: MAX_SHARD_BYTES
    kept.flags.writeable = False
    while sum(spikes.nbytes for spikes in _recent.values()) > RECENT_BYTES:
        _recent.popitem(last=False)
    return kept


def neuron_counts(run: RunConfig, neurons: NDArray[np.int64], bin_ms: int) -> NDArray[np.int64]:
    """Count the spikes of some neurons (ids in increasing order) in bins from the run's start, (n_bins, n_neurons); whole bins only."""
    counts = np.zeros((run.n_steps // bin_ms, len(neurons)), np.int64)
    blocks = np.unique(neurons // run.block_size)
    for bins, ids in _binned(run, bin_ms, blocks.tolist()):
        place = np.minimum(np.searchsorted(neurons, ids), len(neurons) - 1)
        own = neurons[place] == ids
        np.add.at(counts, (bins[own], place[own]), 1)
    return counts


def population_counts(run: RunConfig, bin_ms: int) -> NDArray[np.int64]:
    """Count the spikes of each population in bins from the run's start, (n_bins, n_populations); whole bins only."""
    ends = [end for _, end in run.populations.values()]
    counts = np.zeros((run.n_steps // bin_ms, len(ends)), np.int64)
    for bins, ids in _binned(run, bin_ms):
        np.add.at(counts, (bins, np.searchsorted(ends, ids, side="right")), 1)
    return counts


def _binned(run: RunConfig, bin_ms: int, blocks: Iterable[int] | None = None) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield bin and neuron of each spike, one segment and block at a time; spikes after the last whole bin are omitted."""
    end = run.n_steps // bin_ms * bin_ms
    for segment, block in itertools.product(range(run.n_segments), range(run.n_blocks) if blocks is None else list(blocks)):
        start, stop = run.segment_range(segment)
        steps, ids = read_spikes(run, start, min(stop, end), [block])
        yield steps // bin_ms, ids


def between(steps: NDArray[np.int64], ids: NDArray[np.int64], start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The spikes in [start, end) of an ordered list."""
    first, last = np.searchsorted(steps, (start, end))
    return steps[first:last], ids[first:last]


def of_neurons(steps: NDArray[np.int64], ids: NDArray[np.int64], neurons: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The spikes of some neurons, which are renumbered from 0 in the given order."""
    place = np.full(max(ids.max(initial=0), neurons.max(initial=0)) + 1, -1, np.int64)
    place[neurons] = np.arange(len(neurons))
    local = place[ids]
    return steps[local >= 0], local[local >= 0]


def raster_spikes(spikes: xr.DataArray) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int]:
    """Turn a raster into a list of spikes and the range of its time.

    Parameters
    ----------
    spikes : xarray.DataArray
        (time, neuron), true where a neuron spikes; its time [ms] goes up by 1 ms.

    Returns
    -------
    steps, ids : (n_spikes,) int64
        Time [ms] of each spike, and the position of its neuron along `neuron`.
    start, end : int
        The raster's time is [start, end) [ms].

    Raises
    ------
    SpikelensError
        If a dimension is missing, or time does not go up by 1 ms.
    """
    if set(spikes.dims) != {"time", "neuron"} or "time" not in spikes.coords or spikes.sizes["time"] == 0:
        raise SpikelensError(f"expected spikes with dimensions time and neuron and a coordinate time [ms], got dimensions {spikes.dims}")
    time = spikes["time"].to_numpy()
    if time.dtype.kind == "m":
        time = time.astype("timedelta64[ms]").astype(np.int64)
    start = int(time[0])
    if not np.array_equal(time, start + np.arange(len(time))):
        raise SpikelensError("expected spikes whose coordinate time goes up by 1 ms; select a range of time without gaps")
    raster = spikes.transpose("time", "neuron").to_numpy()
    cells = np.flatnonzero(raster)
    if raster.dtype.kind in "ui":  # a recording: a cell may count several spikes
        cells = np.repeat(cells, raster.ravel()[cells])
    steps, ids = np.divmod(cells, raster.shape[1])
    return start + steps, ids, start, start + len(time)
