"""The state of the network at a segment's end: what the next segment needs to go on as if there had been no end.

For each neuron v, u, its spikes of the last max_delay steps and the last one before them (arrivals on their way, and the partners
that STDP may still pair); for each synapse its weight and the change not yet spent. A state also carries its step and the
simulation's fingerprint, and a run refuses to go on from another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.errors import SimulationError
from spikelens.fingerprint import fingerprint
from spikelens.stores import NO_SPIKE, layout, max_delay, read_array, read_shard, write_shard


@dataclass
class History:
    """Spikes of all neurons that still matter: the last max_delay steps, and for each neuron the last spike before them.

    steps, ids : (n_recent,) int64, ordered by time; last : (n_neurons,) int64, NO_SPIKE where there was none.
    """

    last: NDArray[np.int64]
    steps: NDArray[np.int64]
    ids: NDArray[np.int64]

    def advance(self, steps: NDArray[np.int64], ids: NDArray[np.int64], now: int, n_lags: int) -> None:
        """Append the spikes of a stretch of time that ends at `now`, and forget those that have become irrelevant."""
        steps, ids = np.concatenate([self.steps, steps]), np.concatenate([self.ids, ids])
        old = int(np.searchsorted(steps, now - n_lags))
        self.last[ids[:old]] = steps[:old]  # ordered by time: the latest stays
        self.steps, self.ids = steps[old:], ids[old:]

    def with_spikes(self, steps: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All spikes known, then `steps, ids`: (n_spikes,) int64 each, in order of time for every neuron."""
        spiked = np.flatnonzero(self.last > NO_SPIKE)
        return np.concatenate([self.last[spiked], self.steps, steps]), np.concatenate([spiked, self.ids, ids])


@dataclass
class Membranes:
    """v and u of consecutive neurons, (n,) float32 [mV]."""

    v: NDArray[np.float32]
    u: NDArray[np.float32]


def start(run: RunConfig, first: int, end: int) -> tuple[Membranes, History]:
    """The state before the first step: neurons [first, end) at their populations' v0 and u0, no spike ever."""
    v, u = (per_neuron(run, name)[first:end] for name in ("v0_mv", "u0_mv"))
    nothing = np.empty(0, np.int64)
    return Membranes(v, u), History(np.full(run.network.neurons, NO_SPIKE, np.int64), nothing, nothing)


def per_neuron(run: RunConfig, name: str) -> NDArray[np.float32]:
    """A population parameter for every neuron, (n_neurons,) float32."""
    populations = run.network.populations.values()
    return np.repeat(np.array([getattr(p, name) for p in populations], np.float32), [p.count for p in populations])


def write(run: RunConfig, segment: int, blocks: Sequence[int], membranes: Membranes, history: History) -> None:
    """Write what a rank's blocks contribute to the state at a segment's end (synapses apart)."""
    group = layout(run, "state")
    boundary, n_lags = run.segment_range(segment)[1], max_delay(run)
    offset = run.block_range(blocks[0])[0]
    stamp = np.array([[[boundary, _stamp(run)]]], np.int64)
    for block in blocks:
        first, end = run.block_range(block)
        own = slice(first - offset, end - offset)
        here = (history.ids >= first) & (history.ids < end)
        recent = np.zeros((1, n_lags, end - first), np.bool_)
        recent[0, boundary - 1 - history.steps[here], history.ids[here] - first] = True
        write_shard(group, "v", (segment, block), membranes.v[None, own])
        write_shard(group, "u", (segment, block), membranes.u[None, own])
        write_shard(group, "last_spike", (segment, block), history.last[None, first:end])
        write_shard(group, "recent_spikes", (segment, 0, block), recent)
        write_shard(group, "stamp", (segment, block, 0), stamp)


def read(run: RunConfig, segment: int, blocks: Sequence[int]) -> tuple[Membranes, History]:
    """Read the state at a segment's end: membranes of the given blocks, history of all neurons.

    Raises
    ------
    SimulationError
        If it is the state of another step or of another simulation.
    """
    group = layout(run, "state")
    boundary = run.segment_range(segment)[1]
    for block in range(run.n_blocks):
        step, stamp = read_shard(group, "stamp", (segment, block, 0))[0, 0]
        if step != boundary or stamp != _stamp(run):
            raise SimulationError(
                f"{group.shard_path('stamp', (segment, block, 0))}: block {block} at {step} ms was made by "
                f"another configuration or version than this one; run snakemake, or delete {group.path}"
            )
    v, u = (read_array(group, name, [segment], blocks)[0] for name in ("v", "u"))
    recent = read_array(group, "recent_spikes", [segment])[0]
    lags, ids = np.nonzero(recent[::-1])
    steps = boundary - len(recent) + lags
    return Membranes(v, u), History(read_array(group, "last_spike", [segment])[0], steps.astype(np.int64), ids.astype(np.int64))


def _stamp(run: RunConfig) -> int:
    return int(fingerprint(run, "simulation"), 16) >> 1
