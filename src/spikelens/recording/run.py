"""The recording stage: count the spikes of a user's file per millisecond and write them to the store of spikes."""

from __future__ import annotations

import logging

import numpy as np

from spikelens.config import RunConfig
from spikelens.errors import NetworkError
from spikelens.layouts import layout
from spikelens.stores import ensure, write_shard
from spikelens.tables import read_table, refuse_rows

log = logging.getLogger(__name__)

_MOST = 255
"""Maximum count in a cell of the raster (uint8)."""


def import_segment(run: RunConfig, segment: int) -> None:
    """Write the spikes of one segment. Spikes of a neuron in the same millisecond are counted.

    Raises
    ------
    NetworkError
        If the file cannot be read; for the first row with a neuron or a time that is out of range; or if a neuron has over 255 spikes
        in one millisecond.
    """
    assert run.recording is not None
    path = run.recording.file
    table = read_table(path, {"time_ms": float, "neuron": int})
    times, ids = table["time_ms"], table["neuron"]
    refuse_rows(path, (ids < 0) | (ids >= run.n_neurons), ids, f"a neuron in 0 .. {run.n_neurons - 1} (recording.populations)")
    refuse_rows(path, (times < 0) | (times >= run.n_steps), times, f"a time in [0, {run.n_steps}) ms (recording.duration_s)")
    steps = times.astype(np.int64)
    group = layout(run, "spikes")
    ensure(group)
    start, end = run.segment_range(segment)
    kept = (steps >= start) & (steps < end)
    steps, ids = steps[kept] - start, ids[kept]
    for block in range(run.n_blocks):
        first, last = run.block_range(block)
        own = (ids >= first) & (ids < last)
        cells = steps[own] * (last - first) + ids[own] - first
        counts = np.bincount(cells, minlength=(end - start) * (last - first))
        if counts.max(initial=0) > _MOST:
            step, neuron = divmod(int(counts.argmax()), last - first)
            raise NetworkError(
                f"{path}: {counts.max()} spikes of neuron {first + neuron} in the millisecond from {start + step} ms, expected at most "
                f"{_MOST}; is time_ms in ms?"
            )
        write_shard(group, "spikes", (segment, block), counts.reshape(end - start, last - first).astype(np.uint8))
    log.info("segment %d: %d of the %d spikes in the file", segment, len(steps), len(times))
