"""State of the network at the end of a segment, from which the next segment continues exactly.

For each neuron: v, u, its spikes in the last max_delay steps, and the last spike before them. These are the
spikes that are still pending or that STDP can still pair. For each synapse: its weight and pending change.
The state also contains its step and the fingerprint of the simulation; a run does not continue from the state
of another simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.errors import SimulationError
from spikelens.fingerprint import fingerprint
from spikelens.layouts import layout
from spikelens.numerics import NO_SPIKE
from spikelens.stores import read_array, read_shard, write_shard


@dataclass
class History:
    """Spikes still needed: those of the last max_delay steps, and each neuron's last spike before them.

    steps (n_recent,) int64 and ids (n_recent,) int32, ordered by time; last (n_neurons,) int64, NO_SPIKE if
    none.
    """

    last: NDArray[np.int64]
    steps: NDArray[np.int64]
    ids: NDArray[np.int32]

    def advance(self, start: int, counts: NDArray[np.int64], ids: NDArray[np.int32], n_lags: int) -> None:
        """Append the spikes of a second and drop those that are no longer needed.

        counts : (1000,) spikes per step, beginning with step `start`; ids : (n_spikes,), ordered by step.
        """
        self.last[self.ids] = self.steps  # ordered by time, so the latest spike of a neuron is kept
        old = int(counts[: len(counts) - n_lags].sum())
        steps = start + np.repeat(np.arange(len(counts)), counts)
        self.last[ids[:old]] = steps[:old]
        self.steps, self.ids = steps[old:], ids[old:].copy()

    def last_spikes(self) -> NDArray[np.int64]:
        """Return the last spike of each neuron, (n_neurons,) int64, NO_SPIKE if none."""
        last = self.last.copy()
        last[self.ids] = self.steps
        return last


@dataclass
class Membranes:
    """v and u of some neurons, (n,) float32 [mV]."""

    v: NDArray[np.float32]
    u: NDArray[np.float32]


def start(run: RunConfig, ids: NDArray[np.int32]) -> tuple[Membranes, History]:
    """Return the state before the first step: v0 and u0 of the populations, no spikes."""
    populations = run.network.populations.values()
    v, u = (
        np.repeat(np.array([getattr(p, name) for p in populations], np.float32), [p.count for p in populations])[ids]
        for name in ("v0_mv", "u0_mv")
    )
    history = History(np.full(run.network.neurons, NO_SPIKE, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))
    return Membranes(v, u), history


def write(run: RunConfig, segment: int, blocks: Sequence[int], membranes: Membranes, history: History) -> None:
    """Write the state of a rank's neurons at the end of a segment; `membranes` is ordered by block."""
    group = layout(run, "state")
    boundary, n_lags = run.segment_range(segment)[1], run.max_delay
    stamp = np.array([[[boundary, _stamp(run)]]], np.int64)
    at = 0
    for block in blocks:
        first, end = run.block_range(block)
        own, at = slice(at, at + end - first), at + end - first
        here = (history.ids >= first) & (history.ids < end)
        recent = np.zeros((1, n_lags, end - first), np.bool_)
        recent[0, boundary - 1 - history.steps[here], history.ids[here] - first] = True
        write_shard(group, "v", (segment, block), membranes.v[None, own])
        write_shard(group, "u", (segment, block), membranes.u[None, own])
        write_shard(group, "last_spike", (segment, block), history.last[None, first:end])
        write_shard(group, "recent_spikes", (segment, 0, block), recent)
        write_shard(group, "stamp", (segment, block, 0), stamp)


def read(run: RunConfig, segment: int, blocks: Sequence[int]) -> tuple[Membranes, History]:
    """Read the state at the end of a segment: membranes of the blocks, and the history of all neurons.

    Raises
    ------
    SimulationError
        If the state is of another step or simulation.
    """
    group = layout(run, "state")
    boundary = run.segment_range(segment)[1]
    for block in range(run.n_blocks):
        step, stamp = read_shard(group, "stamp", (segment, block, 0))[0, 0]
        if step != boundary or stamp != _stamp(run):
            raise SimulationError(
                f"{group.shard_path('stamp', (segment, block, 0))}: the state of block {block} at {step} ms is from "
                f"another configuration or version; run snakemake, or delete {group.path}"
            )
    v, u = (np.concatenate([read_shard(group, name, (segment, block))[0] for block in blocks]) for name in ("v", "u"))
    recent = read_array(group, "recent_spikes", [segment])[0]
    lags, ids = np.nonzero(recent[::-1])
    steps = boundary - len(recent) + lags
    return Membranes(v, u), History(read_array(group, "last_spike", [segment])[0], steps.astype(np.int64), ids.astype(np.int32))


def _stamp(run: RunConfig) -> int:
    return int(fingerprint(run, "simulation"), 16) >> 1
