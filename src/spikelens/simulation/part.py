"""The part of a network that a rank simulates: its neurons, the synapses onto them, and the steps of a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.errors import SimulationError
from spikelens.layouts import block_group, layout
from spikelens.mpi import NoExchange, SpikeExchange, owned_blocks
from spikelens.numerics import MAX_WEIGHT_SUM, STDP_LAGS, UNITS_PER_MV, stdp_tables
from spikelens.simulation import state
from spikelens.simulation.drive import make_drive
from spikelens.simulation.kernel import (
    ALL_FINITE,
    MAX_LOCAL_NEURONS,
    Drive,
    Neurons,
    Projection,
    SpikeQueue,
    advance,
    delay_of,
    deliver_older,
    deliver_youngest,
)
from spikelens.simulation.plasticity import end_second, sort_by_neuron
from spikelens.simulation.raster import Raster
from spikelens.simulation.record import Recorder, Samples, sample
from spikelens.simulation.synapses import PLASTIC_FIELDS, STATIC_FIELDS, Columns, load, local_offsets, stored, stored_columns
from spikelens.stores import ensure, write_shard

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

PHASES = ("load", "step", "deliver", "update", "exchange", "plasticity", "write")
"""A single rank with few neurons reports `step`, which covers `deliver` and `update`."""
_FEW_NEURONS = 20_000
"""Below this, Python calls take longer than a step; a single rank then runs seconds in compiled code."""
_NO_SPIKE = -1_000_000_000
"""Time of the last spike of a neuron that never spiked, in steps from the start of the segment (int32)."""


class Clock:
    """Measures the time spent in each phase: wall time, or the time that `now` returns [s]."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._now = now
        self._since = now()

    def spent(self, phase: str) -> None:
        """Add the time since the last call to a phase."""
        now = self._now()
        self.seconds[phase] += now - self._since
        self._since = now


class Part:
    """A rank's part of the network during one segment.

    Parameters
    ----------
    blocks : sequence of int
        The blocks that the rank owns, in increasing order.
    comm : mpi4py communicator, optional
        None for a single rank.
    read : function, optional
        Returns the columns of a block; by default, they are read from the stores.
    """

    def __init__(
        self,
        run: RunConfig,
        segment: int,
        blocks: Sequence[int],
        comm: Comm | None = None,
        read: Callable[[int], Columns] | None = None,
    ) -> None:
        self.clock = Clock()
        self.run, self.segment, self.blocks = run, segment, list(blocks)
        self.start, self.end = run.segment_range(segment)
        self.max_delay = run.max_delay
        self.offsets = local_offsets(run, self.blocks)
        self.few = comm is None and self.offsets[-1] < _FEW_NEURONS
        self.exchange = NoExchange() if comm is None else SpikeExchange(comm, _largest_part(run, comm.Get_size()))
        self.neurons, self.history = _load_neurons(run, segment, self.blocks)
        self.synapses = load(run, self.blocks, read or (lambda block: stored_columns(run, segment, block)))
        self.drive = make_drive(run, self.neurons, warn=segment == 0 and 0 in self.blocks)
        _check_input_range(run, self.neurons, self.drive, self.synapses.largest_input)
        self.recorder = Recorder(run, segment, self.neurons, self.synapses, comm)
        self.ltd, self.ltp = stdp_tables()
        self.weight_sum = np.zeros(self.synapses.n_plastic, np.int64) if run.weight_average else None
        self.raster = Raster()
        self.n_spikes = 0  # of all ranks
        self.found = np.empty(self.n_local + 2 * len(self.history.ids) + 1024, np.int32)
        self.queues = (self._make_queue(self.synapses.static, STATIC_FIELDS), self._make_queue(self.synapses.plastic, PLASTIC_FIELDS))
        self.pending = self.history.ids[self.history.steps == self.start - 1]
        self.clock.spent("load")

    @property
    def n_local(self) -> int:
        return len(self.neurons.ids)

    def _make_queue(self, projection: Projection, fields: int) -> SpikeQueue:
        """Return a queue with the spikes pending at the segment's start, except those of the last step."""
        bounds = np.zeros(self.max_delay + 2, np.int64)
        capacity = len(self.history.ids) + self.n_local + 1024
        queue = SpikeQueue(np.empty(capacity, np.uint64), np.empty(capacity, np.uint64), bounds)
        _resume(self.history.steps, self.history.ids, self.start, projection, fields, queue)
        return queue

    def simulate_second(self, start: int) -> None:
        """Simulate the steps of one second, then update the plastic weights."""
        self.recorder.on_second_start(start - self.start)
        local_counts, counts, ids = (self._steps_at_once if self.few else self._steps)(start)
        own = self.found[: local_counts.sum()].copy()
        self.raster.append(local_counts, own)
        if self.synapses.n_plastic:
            self._end_second(start, local_counts, own, counts, ids)
        self.n_spikes += len(ids)
        self.history.advance(start, counts, ids, self.max_delay)
        self.clock.spent("plasticity")

    def _steps_at_once(self, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Simulate a second in compiled code, on a single rank."""
        counts = np.zeros(STEPS_PER_SECOND, np.int64)
        t, n_found, pending = start, 0, self.pending
        while t < start + STEPS_PER_SECOND:
            self._ensure_capacity(n_found, self.n_local)
            t, n_found, not_finite = run_steps(
                *(t, start, start + STEPS_PER_SECOND, self.start, self.max_delay, self.neurons, self.drive),
                *(self.synapses.static, self.queues[0], self.synapses.plastic, self.queues[1], self.ltd),
                *(pending, self.found, n_found, counts, self.recorder.samples),
            )
            self._refuse_not_finite(not_finite, t - 1)
            pending = self.neurons.ids[self.found[n_found - counts[t - 1 - start] : n_found]]
        self.pending = pending
        self.clock.spent("step")
        return counts, counts, self.neurons.ids[self.found[:n_found]]

    def _steps(self, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Simulate a second step by step, with an exchange of spikes between all ranks in each step.

        Returns
        -------
        local_counts, counts : (1000,) int64
            Spikes per step of this rank, and of all ranks. The neurons of this rank's spikes are in `found`.
        ids : (n_spikes,) int32
            Neurons of the spikes of all ranks, ordered by step.
        """
        network = (self.synapses.static, self.queues[0], self.synapses.plastic, self.queues[1])
        counts = np.zeros((2, STEPS_PER_SECOND), np.int64)
        everyone = []
        n_found = 0
        deliver_older(start - self.start, self.max_delay, *network, self.neurons, self.ltd)
        for k in range(STEPS_PER_SECOND):
            if self._ensure_capacity(n_found, len(self.pending)):
                network = (self.synapses.static, self.queues[0], self.synapses.plastic, self.queues[1])
            deliver_youngest(start + k - self.start, self.pending, *network, self.neurons, self.ltd)
            self.clock.spent("deliver")
            before = n_found
            n_found, not_finite = advance(start + k, self.start, self.neurons, self.drive, self.found, n_found)
            self._refuse_not_finite(not_finite, start + k)
            self.recorder.on_step_end(start + k - self.start)
            self.clock.spent("update")
            self.exchange.start(self.neurons.ids[self.found[before:n_found]])
            self.clock.spent("exchange")
            if k + 1 < STEPS_PER_SECOND:
                deliver_older(start + k + 1 - self.start, self.max_delay, *network, self.neurons, self.ltd)
                self.clock.spent("deliver")
            self.pending = self.exchange.finish()
            counts[:, k] = n_found - before, len(self.pending)
            everyone.append(self.pending)
            self.clock.spent("exchange")
        return counts[0], counts[1], np.concatenate(everyone)

    def _ensure_capacity(self, n_found: int, n_new: int) -> bool:
        """Enlarge the spike lists if the next step might not fit; return whether a queue was enlarged."""
        if n_found + self.n_local > len(self.found):
            self.found = np.concatenate([self.found[:n_found], np.empty(n_found + self.n_local, np.int32)])
        static, plastic = self.queues
        self.queues = (_with_capacity(static, n_new), _with_capacity(plastic, n_new))
        return self.queues[0] is not static or self.queues[1] is not plastic

    def _refuse_not_finite(self, neuron: int, step: int) -> None:
        if neuron != ALL_FINITE:
            raise SimulationError(
                f"neuron {neuron}: its membrane potential is no longer finite at step {step}; check the weights, the drive and "
                "the parameters a, b, c, d of its population"
            )

    def _end_second(
        self, start: int, local_counts: NDArray[np.int64], own: NDArray[np.int32], counts: NDArray[np.int64], ids: NDArray[np.int32]
    ) -> None:
        """Apply the potentiation of a second and update the weights."""
        milliseconds = np.arange(STEPS_PER_SECOND, dtype=np.int16)
        history = self.history
        # earlier last spikes cause no potentiation in this second
        oldest = start - self.max_delay - STDP_LAGS
        before = np.flatnonzero(history.last >= oldest).astype(np.int32)
        source_ids = np.concatenate([before, history.ids, ids])
        earlier = (np.concatenate([history.last[before], history.steps]) - start).astype(np.int16)
        source = sort_by_neuron(source_ids, np.concatenate([earlier, np.repeat(milliseconds, counts)]), self.run.network.neurons)
        target = sort_by_neuron(own, np.repeat(milliseconds, local_counts), self.n_local)
        weight_max = round(self.run.network.weight_max_mv * UNITS_PER_MV)
        weight_sum = np.empty(0, np.int64) if self.weight_sum is None else self.weight_sum
        end_second(self.synapses.plastic, *source, *target, self.ltp, self.max_delay, weight_max, weight_sum)

    def write(self) -> None:
        """Write this rank's shards of the segment; the state is last, so it exists only if all others do."""
        run, segment = self.run, self.segment
        for block, first in zip(self.blocks, self.offsets[:-1], strict=True):
            self._write_raster(block, int(first))
        self._write_synapses()
        self.recorder.write()
        membranes = state.Membranes(self.neurons.v, self.neurons.u)
        state.write(run, segment, self.blocks, membranes, self.history)
        self.clock.spent("write")

    def _write_raster(self, block: int, first: int) -> None:
        """Write the raster of a block whose first neuron has the local index `first`."""

        def cells(place: tuple[slice, ...]) -> NDArray[np.bool_]:
            time, neuron = place
            return self.raster.piece(time.start, time.stop, first + neuron.start, first + neuron.stop)

        write_shard(layout(self.run, "spikes"), "spikes", (self.segment, block), cells)

    def _write_synapses(self) -> None:
        run = self.run
        n_seconds = self.raster.n_seconds
        columns = stored(self.synapses, self.offsets, self.weight_sum, n_seconds)
        for block, column in zip(self.blocks, columns, strict=True):
            weights, changes = block_group(run, "weights", block), block_group(run, "state", block)
            ensure(weights)
            ensure(changes)
            write_shard(weights, "weight", (self.segment, 0), column.weight[None])
            if run.weight_average:
                average = (column.weight_sum / (n_seconds * UNITS_PER_MV)).astype(np.float32)
                write_shard(weights, "weight_average", (self.segment, 0), average[None])
            write_shard(changes, "weight_change", (self.segment, 0), column.change[None])


@compiled
def run_steps(
    t: int,
    second_start: int,
    end: int,
    segment_start: int,
    max_delay: int,
    neurons: Neurons,
    drive: Drive,
    static: Projection,
    static_queue: SpikeQueue,
    plastic: Projection,
    plastic_queue: SpikeQueue,
    ltd: NDArray[np.int32],
    pending: NDArray[np.int32],
    found: NDArray[np.int32],
    n_found: int,
    counts: NDArray[np.int64],
    samples: Samples,
) -> tuple[int, int, int]:
    """Simulate steps t .. end - 1 on a single rank, or fewer if the spike lists are full.

    counts : (1000,) spikes per step, beginning with `second_start`; written here, as are the samples.

    Returns
    -------
    next_step : int
    n_found : int
        Number of spikes (local indices) in `found`.
    not_finite : int
        Id of a neuron whose v is no longer finite, or ALL_FINITE.
    """
    capacity = min(len(static_queue.cursor), len(plastic_queue.cursor)) - len(neurons.ids)
    first_step = t
    while t < end:
        full = max(static_queue.bounds[1], plastic_queue.bounds[1]) > capacity or n_found + len(neurons.ids) > len(found)
        if full and t > first_step:
            break
        now = t - segment_start
        deliver_older(now, max_delay, static, static_queue, plastic, plastic_queue, neurons, ltd)
        deliver_youngest(now, pending, static, static_queue, plastic, plastic_queue, neurons, ltd)
        before = n_found
        n_found, not_finite = advance(t, segment_start, neurons, drive, found, n_found)
        counts[t - second_start] = n_found - before
        sample(now, neurons, samples)
        pending = neurons.ids[found[before:n_found]]
        t += 1
        if not_finite != ALL_FINITE:
            return t, n_found, not_finite
    return t, n_found, ALL_FINITE


@compiled
def _resume(steps: NDArray[np.int64], ids: NDArray[np.int32], start: int, projection: Projection, fields: int, queue: SpikeQueue) -> None:
    """Fill the queue with spikes from before the segment; cursors skip synapses that they have reached.

    steps, ids : (n_spikes,), ordered by time. Spikes of the last step are skipped; they are enqueued in the
    first step.
    """
    bounds = queue.bounds
    n = k = 0
    for age in range(len(bounds) - 2, 0, -1):
        while k < len(ids) and start - 1 - steps[k] == age:
            at, end = projection.first[ids[k]], projection.first[ids[k] + 1]
            while at < end and delay_of(projection.synapses[at * fields]) <= np.uint32(age):
                at += 1
            if at < end:
                queue.cursor[n], queue.stop[n] = np.uint64(at), np.uint64(end)
                n += 1
            k += 1
        bounds[age] = n


def _with_capacity(queue: SpikeQueue, n_new: int) -> SpikeQueue:
    """Return the queue, or a copy with larger arrays if `n_new` more spikes do not fit."""
    n = queue.bounds[1]
    if n + n_new <= len(queue.cursor):
        return queue
    larger = np.empty((2, 2 * (n + n_new)), np.uint64)
    larger[:, :n] = queue.cursor[:n], queue.stop[:n]
    return SpikeQueue(larger[0], larger[1], queue.bounds)


def _largest_part(run: RunConfig, n_ranks: int) -> int:
    """Return the number of neurons of the rank with the most neurons."""
    return int(max(local_offsets(run, owned_blocks(run.n_blocks, rank, n_ranks))[-1] for rank in range(n_ranks)))


def _load_neurons(run: RunConfig, segment: int, blocks: Sequence[int]) -> tuple[Neurons, state.History]:
    """Return a rank's neurons at the start of a segment, and the recent spikes of all neurons."""
    ids = np.concatenate([np.arange(*run.block_range(block), dtype=np.int32) for block in blocks])
    n = len(ids)
    if n > MAX_LOCAL_NEURONS:
        raise SimulationError(f"{n:,} neurons on a rank, expected at most {MAX_LOCAL_NEURONS:,}; use more ranks (simulation.ranks)")
    membranes, history = state.start(run, ids) if segment == 0 else state.read(run, segment - 1, blocks)
    last_spike = np.maximum(history.last_spikes()[ids] - run.segment_range(segment)[0], _NO_SPIKE).astype(np.int32)
    # a run ends where the population changes or ids are not consecutive
    firsts = np.array([first for first, _ in run.populations.values()])
    population = np.searchsorted(firsts, ids, side="right") - 1
    breaks = np.flatnonzero((np.diff(ids) != 1) | (np.diff(population) != 0)) + 1
    bounds = np.concatenate([[0], breaks, [n]]).astype(np.int64)
    of_run = population[bounds[:-1]]
    populations = run.network.populations
    parameters = np.array([[p.a, p.b, p.c, p.d] for p in populations.values()], np.float32)
    current = np.array([round(run.drive.current_mv.get(name, 0.0) * UNITS_PER_MV) for name in populations], np.int32)
    inputs = np.repeat(current[of_run], np.diff(bounds))
    flags = np.zeros(-(-n // 8) * 8, np.uint8)
    return Neurons(ids, membranes.v, membranes.u, inputs, last_spike, flags, bounds, parameters[of_run], current[of_run]), history


def _check_input_range(run: RunConfig, neurons: Neurons, drive: Drive, largest: NDArray[np.int64]) -> None:
    """Raise if the input to a neuron might not fit in 32 bits when everything arrives in one step.

    largest : (n_local,) sum of the largest possible |weight| of each neuron's synapses [2^-16 mV].
    """
    of_run = abs(neurons.current.astype(np.int64)) + abs(drive.poisson_amount.astype(np.int64)) * drive.poisson_limits.shape[1]
    total = largest + abs(drive.kick) + np.repeat(of_run, np.diff(neurons.bounds))
    if len(drive.step):
        _, at_once = np.unique(np.stack([drive.step, drive.neuron]), axis=1, return_inverse=True)
        sums = np.zeros(at_once.max() + 1, np.int64)
        np.add.at(sums, at_once, abs(drive.amount.astype(np.int64)))
        most = np.zeros(len(total), np.int64)
        np.maximum.at(most, drive.neuron, sums[at_once])
        total += most
    if total.max() >= MAX_WEIGHT_SUM:
        worst = int(total.argmax())
        raise SimulationError(
            f"neuron {neurons.ids[worst]}: weights, kick, current, Poisson input and drive.events of one step can add up to "
            f"{total[worst] / UNITS_PER_MV:.0f} mV; expected less than 32,768 mV, since inputs are 32-bit integers"
        )
