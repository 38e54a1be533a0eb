"""The features stage at its edge: spikes and synapses are read, features computed block by block, shards written.

A segment's spikes are read once, with a halo: as far back as the exponentials reach before its start. Nothing looks ahead, so a run
that grows keeps all its features. Beyond the spikes, memory holds the features of one segment and block at a time.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.features.causal import causal_components, dense_causal_components, history_steps
from spikelens.features.rates import bin_counts, population_counts
from spikelens.features.spikes import of_neurons, read_spikes
from spikelens.features.traces import spike_traces
from spikelens.network.build import Synapses
from spikelens.progress import Progress
from spikelens.stores import (
    UNITS_PER_MV,
    Group,
    block_group,
    ensure,
    layout,
    max_delay,
    read_shard,
    traced_neurons,
    write_shard,
)

log = logging.getLogger(__name__)

Spikes = tuple[NDArray[np.int64], NDArray[np.int64]]


def compute_features(run: RunConfig, segments: Iterable[int], blocks: Iterable[int]) -> None:
    """Compute and write every feature of some segments and blocks.

    Raises
    ------
    StoreError
        If a shard of the network, the spikes, the weights or the state that is needed is missing, empty or damaged.
    """
    segments, blocks = list(segments), list(blocks)
    group = layout(run, "features")
    ensure(group)
    for block in blocks:
        ensure(block_group(run, "features", block))
    history = history_steps(run.features.tau_ms, max_delay(run))
    with Progress("computing features", len(segments) * len(blocks), "shards") as progress:
        for done, (segment, block) in enumerate(itertools.product(segments, blocks)):
            if block == blocks[0]:
                start, end = run.segment_range(segment)
                spikes = read_spikes(run, start - history, end)
                log.info("segment %d: %d spikes read", segment, len(spikes[0]))
            _write_counts(run, group, segment, block, spikes)
            if "omega_dense" in group.arrays:
                _write_dense(run, group, segment, block, spikes)
            _write_block(run, segment, block, spikes)
            progress.update(done + 1)


def _write_counts(run: RunConfig, group: Group, segment: int, block: int, spikes: Spikes) -> None:
    """Write the spike counts per bin of a block's neurons, and their sums over each population."""
    first, end = run.block_range(block)
    own = of_neurons(*spikes, np.arange(first, end))
    counts = bin_counts(*own, end - first, *run.segment_range(segment), run.features.step_ms)
    write_shard(group, "count", (segment, block), counts)
    sums = population_counts(counts, first, run.populations)
    write_shard(group, "population_count", (segment, block, 0), sums[:, np.newaxis])


def _write_dense(run: RunConfig, group: Group, segment: int, block: int, spikes: Spikes) -> None:
    """Write the causal components of all sources onto a block's neurons."""
    windows, tau_ms = omega_windows(run, segment), run.features.tau_ms
    dense = dense_causal_components(*spikes, run.network.neurons, run.block_range(block), windows, tau_ms)
    write_shard(group, "omega_dense", (segment, 0, block), dense)


def _write_block(run: RunConfig, segment: int, block: int, spikes: Spikes) -> None:
    """Write what a block keeps in its own group: traces of some neurons, causal components of all synapses."""
    group = block_group(run, "features", block)
    tau_ms, n_neurons = run.features.tau_ms, run.network.neurons
    if "trace" in group.arrays:
        traced = traced_neurons(run, block)
        traces = spike_traces(*of_neurons(*spikes, traced), len(traced), *run.segment_range(segment), tau_ms)
        write_shard(group, "trace", (segment, 0), traces)
    weight_max = round(run.network.weight_max_mv * UNITS_PER_MV) if run.simulation.plasticity else None
    synapses, change = read_synapses(run, segment, block)
    omegas = causal_components(synapses, change, *spikes, n_neurons, omega_windows(run, segment), tau_ms, weight_max)
    for name, omega in zip(("omega", "omega_unweighted"), omegas, strict=True):
        # a block without synapses still has one column, since an array needs one
        columns = group.arrays[name].shape[1] - omega.shape[1]
        write_shard(group, name, (segment, 0), np.pad(omega, ((0, 0), (0, columns))))


def omega_windows(run: RunConfig, segment: int) -> list[tuple[int, int]]:
    """Ranges of a segment's windows of causal components [ms]; the run's last may be short."""
    start, end = run.segment_range(segment)
    width = run.features.omega_window_s * STEPS_PER_SECOND
    return [(first, min(first + width, end)) for first in range(start, end, width)]


def read_synapses(run: RunConfig, segment: int, block: int) -> tuple[Synapses, NDArray[np.int32]]:
    """Read the synapses onto a block's neurons, their weights and weight changes as they stand at a segment's start."""
    network = block_group(run, "network", block)
    n = network.attrs["n_synapses"]
    columns = {name: read_shard(network, name, (0,))[:n] for name in network.arrays}
    change = np.zeros(n, np.int32)
    if segment > 0:
        boundary = (segment - 1, 0)
        columns["weight"] = read_shard(block_group(run, "weights", block), "weight", boundary)[0, :n]
        change = read_shard(block_group(run, "state", block), "weight_change", boundary)[0, :n]
    return Synapses(**columns), change
