"""One segment of the simulation on one rank: load, step, and write what the rank owns.

A rank owns consecutive blocks of neurons and all synapses onto them. Within the segment it keeps spikes as (step, id) lists; a
shard is made dense only to be written. Weights change at whole seconds, and then spikes that are still on their way are delivered
anew with the new weights, since a weight counts when a spike arrives.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.errors import SimulationError
from spikelens.mpi import SpikeExchange, owned_blocks
from spikelens.network.build import MAX_WEIGHT_SUM, Synapses
from spikelens.progress import Progress
from spikelens.simulation import state
from spikelens.simulation.kernel import ALL_FINITE, deliver, kick, replay, update_neurons
from spikelens.simulation.plasticity import apply_changes, gather_changes, spike_trains
from spikelens.stores import UNITS_PER_MV, block_group, ensure, layout, max_delay, n_synapses, read_shard, stdp_tables, write_shard
from spikelens.tables import read_table, refuse_rows

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

_Spikes = tuple[NDArray[np.int64], NDArray[np.int64]]


def simulate_segment(run: RunConfig, segment: int, comm: Comm | None = None) -> None:
    """Simulate one segment, from the state at its start, and write spikes, weights and the state at its end.

    Parameters
    ----------
    comm : mpi4py communicator, optional
        Its ranks share the work; None: this process does it all.

    Raises
    ------
    SimulationError
        If there are more ranks than blocks, the state at the start is not this run's, or a membrane potential leaves the finite
        numbers.
    """
    rank, n_ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if n_ranks > run.n_blocks:
        raise SimulationError(f"{n_ranks} ranks, but only {run.n_blocks} blocks of network.block_size = {run.network.block_size} neurons")
    part = Part(run, segment, owned_blocks(run.n_blocks, rank, n_ranks), comm)
    start, end = run.segment_range(segment)
    with Progress(f"simulation, segment {segment + 1} of {run.n_segments}", end - start, "ms") as progress:
        for second in range(start, end, STEPS_PER_SECOND):
            part.simulate_second(second)
            if rank == 0:
                progress.update(second + STEPS_PER_SECOND - start)
    part.write()
    if comm is not None:
        comm.Barrier()  # the next segment reads the state of every rank


@dataclass
class _Outgoing:
    """The synapses onto a rank's neurons, ordered by source for delivery; `order` leads back to the order of storage."""

    order: NDArray[np.int64]
    first_synapse: NDArray[np.int64]
    synapses: Synapses
    local_target: NDArray[np.int32]
    change: NDArray[np.int32]
    weight_sum: NDArray[np.int64]


class Part:
    """A rank's part of the network during one segment."""

    def __init__(self, run: RunConfig, segment: int, blocks: Sequence[int], comm: Comm | None) -> None:
        self.run, self.segment, self.blocks = run, segment, list(blocks)
        self.first, self.end = run.block_range(self.blocks[0])[0], run.block_range(self.blocks[-1])[1]
        self.exchange = None if comm is None else SpikeExchange(comm)
        if segment == 0:
            self.membranes, self.history = state.start(run, self.first, self.end)
        else:
            self.membranes, self.history = state.read(run, segment - 1, self.blocks)
        self.outgoing = _load_synapses(run, segment, self.blocks, self.first)
        self.plastic = run.simulation.plasticity and bool(self.outgoing.synapses.plastic.any())
        self.cell = [state.per_neuron(run, name)[self.first : self.end] for name in "abcd"]
        self.events = read_events(run, self.first, self.end)
        self._check_input_range()
        self.arriving = np.zeros((max_delay(run) + 1, self.end - self.first), np.int32)
        self.ltd, self.ltp = stdp_tables()
        self.spikes: list[_Spikes] = []
        self._deliver_pending(run.segment_range(segment)[0])

    def _check_input_range(self) -> None:
        """Refuse a network and drive whose input to a neuron might not fit in 32 bits, everything arriving at once."""
        synapses, (step, neuron, amount) = self.outgoing.synapses, self.events
        w_max = round(self.run.network.weight_max_mv * UNITS_PER_MV)
        largest = np.where(synapses.plastic, w_max, np.abs(synapses.weight.astype(np.int64)))
        total = np.bincount(self.outgoing.local_target, largest, self.end - self.first).astype(np.float64)
        total += abs(round(self.run.drive.kick_mv * UNITS_PER_MV))
        if len(step):
            _, at_once = np.unique(np.stack([step, neuron]), axis=1, return_inverse=True)
            event_sums = np.bincount(at_once, np.abs(amount.astype(np.int64)))
            most = np.zeros(len(total))
            np.maximum.at(most, neuron, event_sums[at_once])
            total += most
        if total.max() >= MAX_WEIGHT_SUM:
            worst = int(total.argmax())
            raise SimulationError(
                f"neuron {self.first + worst}: weights, kick and drive.events of one step may add up to "
                f"{total[worst] / UNITS_PER_MV:.0f} mV; expected less than 32,768 mV: inputs are 32-bit integers"
            )

    def simulate_second(self, start: int) -> None:
        """Simulate the steps of one second, then let STDP change the weights."""
        end = start + STEPS_PER_SECOND
        steps, ids = self._steps(start, end)
        own = (ids >= self.first) & (ids < self.end)
        self.spikes.append((steps[own], ids[own]))
        synapses = self.outgoing.synapses
        if self.run.weight_average:
            self.outgoing.weight_sum += synapses.weight
        trains = self.history.with_spikes(steps, ids) if self.plastic else None
        self.history.advance(steps, ids, end, len(self.arriving) - 1)
        if trains is None:
            return
        first, times = spike_trains(*trains, self.run.network.neurons)
        gather_changes(
            self.outgoing.change,
            synapses.source,
            synapses.target,
            synapses.delay,
            synapses.plastic,
            first,
            times,
            start,
            end,
            self.ltd,
            self.ltp,
        )
        apply_changes(synapses.weight, self.outgoing.change, synapses.plastic, round(self.run.network.weight_max_mv * UNITS_PER_MV))
        self._deliver_pending(end)

    def _deliver_pending(self, now: int) -> None:
        """Deliver the spikes of the past that arrive from step `now` on, with the weights of now."""
        self.arriving[:] = 0
        out, history = self.outgoing, self.history
        for step in np.unique(history.steps):
            ids = history.ids[history.steps == step].astype(np.int32)
            deliver(self.arriving, step, now, ids, out.first_synapse, out.local_target, out.synapses.delay, out.synapses.weight)

    def _steps(self, start: int, end: int) -> _Spikes:
        """Simulate [start, end): the spikes of all neurons, ordered by time."""
        found: list[_Spikes] = []
        out, drive = self.outgoing, self.run.drive
        arguments = (
            self.arriving,
            *(self.membranes.v, self.membranes.u, *self.cell),
            self.first,
            *(drive.seed, round(drive.kick_mv * UNITS_PER_MV), *self.events),
            *(out.first_synapse, out.local_target, out.synapses.delay, out.synapses.weight),
        )
        t = start
        while t < end:
            # alone, a rank needs no word from others and stays in compiled code
            t, steps, ids, not_finite = run_steps(t, end if self.exchange is None else t + 1, self.exchange is None, *arguments)
            if not_finite != ALL_FINITE:
                raise SimulationError(
                    f"neuron {not_finite}: its membrane potential is no longer finite at step {t - 1}; check the weights, the drive and "
                    "the parameters a, b, c, d of its population"
                )
            if self.exchange is not None:
                ids = self.exchange(ids)
                steps = np.full(len(ids), t - 1, np.int64)
                deliver(self.arriving, t - 1, t, ids, out.first_synapse, out.local_target, out.synapses.delay, out.synapses.weight)
            found.append((steps, ids.astype(np.int64)))
        return np.concatenate([steps for steps, _ in found]), np.concatenate([ids for _, ids in found])

    def write(self) -> None:
        """Write this rank's shards of the segment; the state comes last, so that it stands only beside all the rest."""
        run, segment = self.run, self.segment
        steps, ids = (np.concatenate([part[k] for part in self.spikes]) for k in (0, 1))
        start, end = run.segment_range(segment)
        raster = layout(run, "spikes")
        for block in self.blocks:
            first, last = run.block_range(block)
            here = (ids >= first) & (ids < last)
            dense = np.zeros((end - start, last - first), np.bool_)
            dense[steps[here] - start, ids[here] - first] = True
            write_shard(raster, "spikes", (segment, block), dense)
        self._write_synapses((end - start) // STEPS_PER_SECOND)
        state.write(run, segment, self.blocks, self.membranes, self.history)

    def _write_synapses(self, n_seconds: int) -> None:
        run, out = self.run, self.outgoing
        stored = np.argsort(out.order)
        weight, change, total = out.synapses.weight[stored], out.change[stored], out.weight_sum
        at = 0
        for block in self.blocks:
            n = max(n_synapses(run, block), 1)
            own, at = slice(at, at + n), at + n
            weights, changes = block_group(run, "weights", block), block_group(run, "state", block)
            ensure(weights, rebuild=True)
            ensure(changes, rebuild=True)
            write_shard(weights, "weight", (self.segment, 0), weight[None, own])
            if run.weight_average:
                average = (total[stored][own] / (n_seconds * UNITS_PER_MV)).astype(np.float32)
                write_shard(weights, "weight_average", (self.segment, 0), average[None])
            write_shard(changes, "weight_change", (self.segment, 0), change[None, own])


@compiled
def run_steps(
    start: int,
    end: int,
    alone: bool,
    arriving: NDArray[np.int32],
    v: NDArray[np.float32],
    u: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    d: NDArray[np.float32],
    first: int,
    drive_seed: int,
    kick_amount: int,
    event_step: NDArray[np.int64],
    event_neuron: NDArray[np.int64],
    event_amount: NDArray[np.int32],
    first_synapse: NDArray[np.int64],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
    weight: NDArray[np.int32],
) -> tuple[int, NDArray[np.int64], NDArray[np.int32], int]:
    """Simulate the steps [start, end), or fewer if memory for spikes runs out; deliver this rank's own spikes only if it is alone.

    Returns
    -------
    next_step : int
    steps : (n_spikes,) int64
    ids : (n_spikes,) int32
    not_finite : int
        A neuron whose v is no longer finite, or ALL_FINITE.
    """
    room = 16 * len(v) + 64
    steps, ids = np.empty(room, np.int64), np.empty(room, np.int32)
    n = 0
    for t in range(start, end):
        current = arriving[t % len(arriving)]
        if kick_amount != 0:
            kick(current, t, first, drive_seed, kick_amount)
        replay(current, t, event_step, event_neuron, event_amount)
        added, not_finite = update_neurons(current, v, u, a, b, c, d, first, ids[n:])
        steps[n : n + added] = t
        if alone:
            deliver(arriving, t, t + 1, ids[n : n + added], first_synapse, target, delay, weight)
        n += added
        if not_finite != ALL_FINITE or n + len(v) > room:
            return t + 1, steps[:n], ids[:n], not_finite
    return end, steps[:n], ids[:n], ALL_FINITE


def _load_synapses(run: RunConfig, segment: int, blocks: Sequence[int], first: int) -> _Outgoing:
    """Read the synapses onto the neurons of some blocks, with their weights at the segment's start."""
    parts = []
    for block in blocks:
        group = block_group(run, "network", block)
        columns = {name: read_shard(group, name, (0,)) for name in group.arrays}
        change = np.zeros(len(columns["weight"]), np.int32)
        if segment:
            columns["weight"] = read_shard(block_group(run, "weights", block), "weight", (segment - 1, 0))[0]
            change = read_shard(block_group(run, "state", block), "weight_change", (segment - 1, 0))[0]
        parts.append({**columns, "change": change})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.argsort(joined["source"], kind="stable")
    ordered = {name: values[order] for name, values in joined.items()}
    change = ordered.pop("change")
    synapses = Synapses(**ordered)
    first_synapse = np.searchsorted(synapses.source, np.arange(run.network.neurons + 1)).astype(np.int64)
    local_target = (synapses.target - first).astype(np.int32)
    return _Outgoing(order, first_synapse, synapses, local_target, change, np.zeros(len(order) if run.weight_average else 0, np.int64))


def read_events(run: RunConfig, first: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Read the user's drive events for the neurons [first, end).

    Returns
    -------
    step, neuron, amount : (n_events,)
        Ordered by step; neurons counted from `first`; amounts in 2^-16 mV. Empty without drive.events.

    Raises
    ------
    NetworkError
        Naming the row of an unknown neuron, a step below 0, or an amount out of range. Steps after the run's end are none of its
        concern: a run may grow.
    """
    path = run.drive.events
    if path is None:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
    table = read_table(path, {"step": int, "neuron": int, "mv": float})
    step, neuron, mv = table["step"], table["neuron"], table["mv"]
    refuse_rows(path, step < 0, step, "a step of at least 0")
    refuse_rows(path, (neuron < 0) | (neuron >= run.network.neurons), neuron, f"a neuron id in 0 .. {run.network.neurons - 1}")
    refuse_rows(path, np.abs(mv) >= 32_768, mv, "an amount below 32,768 mV")
    order = np.argsort(step, kind="stable")
    order = order[(neuron[order] >= first) & (neuron[order] < end)]
    return step[order], neuron[order] - first, np.rint(mv[order] * UNITS_PER_MV).astype(np.int32)
