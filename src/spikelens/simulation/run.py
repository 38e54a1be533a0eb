"""One segment of the simulation on one rank: load, step, and write what the rank owns.

A rank owns blocks of neurons and all synapses onto them, and numbers its neurons through its blocks. Spikes are kept as lists, a
second at a time: how many in each step, and which neurons. A shard is made dense only to be written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.errors import SimulationError
from spikelens.limits import Deadline
from spikelens.mpi import NoExchange, SpikeExchange, owned_blocks
from spikelens.network.build import MAX_WEIGHT_SUM
from spikelens.progress import Progress
from spikelens.simulation import state
from spikelens.simulation.drive import make_drive
from spikelens.simulation.kernel import (
    ALL_FINITE,
    MAX_LOCAL_NEURONS,
    Drive,
    Flight,
    Neurons,
    Projection,
    advance,
    delay_of,
    deliver,
    depart,
    grow_older,
)
from spikelens.simulation.plasticity import end_second, sort_by_neuron
from spikelens.simulation.raster import Raster
from spikelens.simulation.record import Recorder, Samples, sample
from spikelens.simulation.synapses import PLASTIC_FIELDS, STATIC_FIELDS, Columns, load, local_offsets, stored, stored_columns
from spikelens.stores import STDP_LAGS, UNITS_PER_MV, block_group, ensure, layout, max_delay, stdp_tables, write_shard

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

PHASES = ("load", "step", "deliver", "update", "exchange", "plasticity", "write")
"""Step is deliver and update in one, of a rank that is alone with few neurons."""
_FEW_NEURONS = 20_000
"""Fewer take less time for a step than Python for calling one: a rank that is alone then stays in compiled code for a second."""
_LATE = (
    "It ends now, and nothing of the segment is written. Ask for more time (snakemake --set-resources simulate:runtime={minutes}; "
    "in a sweep, rules end in a number), or "
    "take a smaller simulation.segment_s (`spikelens plan` names one that fits a limit) or more ranks (simulation.ranks)"
)
"""What to do about a segment that will not be done in time."""
_NO_SPIKE = -1_000_000_000
"""Stands for the time of a spike that never was, in steps from the segment's start and as int32."""


def simulate_segment(run: RunConfig, segment: int, comm: Comm | None = None, deadline: Deadline | None = None) -> dict[str, float]:
    """Simulate one segment, from the state at its start, and write spikes, weights and the state at its end.

    Parameters
    ----------
    comm : mpi4py communicator, optional
        Its ranks share the work; None: this process does it all.
    deadline : Deadline, optional
        When the process must have ended. Rank 0 decides whether it will: the other ranks never are more than a step ahead of it, so
        they have not begun to write when it ends all of them (`mpi.watched`).

    Returns
    -------
    dict of str to float
        Seconds that this rank spent in each of `PHASES`.

    Raises
    ------
    SimulationError
        If there are more ranks than blocks, the state at the start is not this run's, a recorded pair has no synapse, or a membrane
        potential leaves the finite numbers.
    SpikelensError
        Where the segment will not be done in time; nothing of it has been written.
    """
    rank, n_ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if n_ranks > run.n_blocks:
        raise SimulationError(f"{n_ranks} ranks, but only {run.n_blocks} blocks of network.block_size = {run.network.block_size} neurons")
    part = Part(run, segment, owned_blocks(run.n_blocks, rank, n_ranks), comm)
    start, end = run.segment_range(segment)
    what = f"simulation, segment {segment + 1} of {run.n_segments}"
    with Progress(what, end - start, "ms") as progress:
        for second in range(start, end, STEPS_PER_SECOND):
            part.simulate_second(second)
            if rank == 0:
                done = second + STEPS_PER_SECOND - start
                progress.update(done)
                if deadline is not None:
                    deadline.refuse_if_late(done, end - start, what, "ms", _LATE)
    part.write()
    if rank == 0 and not part.n_spikes:
        log.warning("%s: no neuron spikes; is the drive too weak (drive.kick_mv, poisson, current_mv, events)?", what)
    log.info("rank %d: %s", rank, ", ".join(f"{name} {seconds:.2f} s" for name, seconds in part.clock.seconds.items()))
    if comm is not None:
        comm.Barrier()  # the next segment reads the state of every rank
    return part.clock.seconds


class Clock:
    """Tells on which phase time was spent: wall time, or another that `now` tells [s]."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._now = now
        self._since = now()

    def spent(self, phase: str) -> None:
        """Book the time since the last call to a phase."""
        now = self._now()
        self.seconds[phase] += now - self._since
        self._since = now


class Part:
    """A rank's part of the network during one segment.

    Parameters
    ----------
    blocks : sequence of int
        The blocks that the rank owns, increasing.
    comm : mpi4py communicator, optional
        None: the rank is alone.
    read : function, optional
        The columns of a block; None: as they stand in the stores.
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
        self.max_delay = max_delay(run)
        self.offsets = local_offsets(run, self.blocks)
        self.few = comm is None and self.offsets[-1] < _FEW_NEURONS
        self.exchange = NoExchange() if comm is None else SpikeExchange(comm, _largest_part(run, comm.Get_size()))
        self.neurons, self.history = _load_neurons(run, segment, self.blocks)
        self.synapses = load(run, self.blocks, read or (lambda block: stored_columns(run, segment, block)))
        self.drive = make_drive(run, self.neurons, tell=segment == 0 and 0 in self.blocks)
        _check_input_range(run, self.neurons, self.drive, self.synapses.largest_input)
        self.recorder = Recorder(run, segment, self.neurons, self.synapses, comm)
        self.ltd, self.ltp = stdp_tables()
        self.weight_sum = np.zeros(self.synapses.n_plastic, np.int64) if run.weight_average else None
        self.raster = Raster()
        self.n_spikes = 0  # of all ranks
        self.found = np.empty(self.n_local + 2 * len(self.history.ids) + 1024, np.int32)
        self.flights = (self._flight(self.synapses.static, STATIC_FIELDS), self._flight(self.synapses.plastic, PLASTIC_FIELDS))
        self.pending = self.history.ids[self.history.steps == self.start - 1]
        self.clock.spent("load")

    @property
    def n_local(self) -> int:
        return len(self.neurons.ids)

    def _flight(self, projection: Projection, fields: int) -> Flight:
        """The spikes that are on their way at the segment's start; those of the last step have not taken off yet."""
        bounds = np.zeros(self.max_delay + 2, np.int64)
        room = len(self.history.ids) + self.n_local + 1024
        flight = Flight(np.empty(room, np.uint64), np.empty(room, np.uint64), bounds)
        _resume(self.history.steps, self.history.ids, self.start, projection, fields, flight)
        return flight

    def simulate_second(self, start: int) -> None:
        """Simulate the steps of one second, then let STDP change the weights."""
        self.recorder.second_begins(start - self.start)
        local_counts, counts, ids = (self._steps_at_once if self.few else self._steps)(start)
        own = self.found[: local_counts.sum()].copy()
        self.raster.append(local_counts, own)
        if self.synapses.n_plastic:
            self._end_second(start, local_counts, own, counts, ids)
        self.n_spikes += len(ids)
        self.history.advance(start, counts, ids, self.max_delay)
        self.clock.spent("plasticity")

    def _steps_at_once(self, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Simulate a second in compiled code, as a rank that is alone."""
        counts = np.zeros(STEPS_PER_SECOND, np.int64)
        t, n_found, pending = start, 0, self.pending
        while t < start + STEPS_PER_SECOND:
            self._make_room(n_found, self.n_local)
            t, n_found, not_finite = run_steps(
                *(t, start, start + STEPS_PER_SECOND, self.start, self.max_delay, self.neurons, self.drive),
                *(self.synapses.static, self.flights[0], self.synapses.plastic, self.flights[1], self.ltd),
                *(pending, self.found, n_found, counts, self.recorder.samples),
            )
            self._refuse_not_finite(not_finite, t - 1)
            pending = self.neurons.ids[self.found[n_found - counts[t - 1 - start] : n_found]]
        self.pending = pending
        self.clock.spent("step")
        return counts, counts, self.neurons.ids[self.found[:n_found]]

    def _steps(self, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Simulate a second step by step, telling the other ranks of every spike and hearing of theirs.

        Returns
        -------
        local_counts, counts : (1000,) int64
            Spikes of this rank, and of all, in each step; the former's neurons are in `found`.
        ids : (n_spikes,) int32
            Neurons of all ranks' spikes, step by step.
        """
        network = (self.synapses.static, self.flights[0], self.synapses.plastic, self.flights[1])
        counts = np.zeros((2, STEPS_PER_SECOND), np.int64)
        everyone = []
        n_found = 0
        _deliver_older(start - self.start, self.max_delay, *network, self.neurons, self.ltd)
        for k in range(STEPS_PER_SECOND):
            if self._make_room(n_found, len(self.pending)):
                network = (self.synapses.static, self.flights[0], self.synapses.plastic, self.flights[1])
            _deliver_youngest(start + k - self.start, self.pending, *network, self.neurons, self.ltd)
            self.clock.spent("deliver")
            before = n_found
            n_found, not_finite = advance(start + k, self.start, self.neurons, self.drive, self.found, n_found)
            self._refuse_not_finite(not_finite, start + k)
            self.recorder.step_ends(start + k - self.start)
            self.clock.spent("update")
            self.exchange.start(self.neurons.ids[self.found[before:n_found]])
            self.clock.spent("exchange")
            if k + 1 < STEPS_PER_SECOND:
                _deliver_older(start + k + 1 - self.start, self.max_delay, *network, self.neurons, self.ltd)
                self.clock.spent("deliver")
            self.pending = self.exchange.finish()
            counts[:, k] = n_found - before, len(self.pending)
            everyone.append(self.pending)
            self.clock.spent("exchange")
        return counts[0], counts[1], np.concatenate(everyone)

    def _make_room(self, n_found: int, n_departing: int) -> bool:
        """Enlarge the lists of spikes if the next step might not fit; whether a flight was enlarged."""
        if n_found + self.n_local > len(self.found):
            self.found = np.concatenate([self.found[:n_found], np.empty(n_found + self.n_local, np.int32)])
        static, plastic = self.flights
        self.flights = (_with_room(static, n_departing), _with_room(plastic, n_departing))
        return self.flights[0] is not static or self.flights[1] is not plastic

    def _refuse_not_finite(self, neuron: int, step: int) -> None:
        if neuron != ALL_FINITE:
            raise SimulationError(
                f"neuron {neuron}: its membrane potential is no longer finite at step {step}; check the weights, the drive and "
                "the parameters a, b, c, d of its population"
            )

    def _end_second(
        self, start: int, local_counts: NDArray[np.int64], own: NDArray[np.int32], counts: NDArray[np.int64], ids: NDArray[np.int32]
    ) -> None:
        """Potentiate by the second's spikes, and change the weights."""
        milliseconds = np.arange(STEPS_PER_SECOND, dtype=np.int16)
        history = self.history
        # earlier than this, a last spike earns nothing in this second
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
        """Write this rank's shards of the segment; the state comes last, so that it stands only beside all the rest."""
        run, segment = self.run, self.segment
        for block, first in zip(self.blocks, self.offsets[:-1], strict=True):
            self._write_raster(block, int(first))
        self._write_synapses()
        self.recorder.write()
        membranes = state.Membranes(self.neurons.v, self.neurons.u)
        state.write(run, segment, self.blocks, membranes, self.history)
        self.clock.spent("write")

    def _write_raster(self, block: int, first: int) -> None:
        """Write the raster of a block, whose neurons have local ids from `first` on."""

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


# --- stepping -----------------------------------------------------------------------------------------------------------


@compiled
def _deliver_older(
    now: int,
    max_delay: int,
    static: Projection,
    static_flight: Flight,
    plastic: Projection,
    plastic_flight: Flight,
    neurons: Neurons,
    ltd: NDArray[np.int32],
) -> None:
    """Deliver what arrives in step `now` (from the segment's start) of all spikes but those of the step before."""
    grow_older(static_flight)
    grow_older(plastic_flight)
    deliver(max_delay, 2, static, static_flight, plastic, plastic_flight, neurons, now, ltd)


@compiled
def _deliver_youngest(
    now: int,
    pending: NDArray[np.int32],
    static: Projection,
    static_flight: Flight,
    plastic: Projection,
    plastic_flight: Flight,
    neurons: Neurons,
    ltd: NDArray[np.int32],
) -> None:
    """Let the spikes of the step before (ids) take off, and deliver those that arrive at once."""
    depart(pending, static, static_flight)
    depart(pending, plastic, plastic_flight)
    deliver(1, 1, static, static_flight, plastic, plastic_flight, neurons, now, ltd)


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
    static_flight: Flight,
    plastic: Projection,
    plastic_flight: Flight,
    ltd: NDArray[np.int32],
    pending: NDArray[np.int32],
    found: NDArray[np.int32],
    n_found: int,
    counts: NDArray[np.int64],
    samples: Samples,
) -> tuple[int, int, int]:
    """Simulate steps from t to `end`, or fewer if the lists of spikes are full, as the only rank.

    counts : (1000,) spikes in each step from `second_start` on, filled in, as are the samples.

    Returns
    -------
    next_step : int
    n_found : int
        Spikes in `found` (local ids) so far.
    not_finite : int
        A neuron whose v is no longer finite, or ALL_FINITE.
    """
    room = min(len(static_flight.cursor), len(plastic_flight.cursor)) - len(neurons.ids)
    first_step = t
    while t < end:
        full = max(static_flight.bounds[1], plastic_flight.bounds[1]) > room or n_found + len(neurons.ids) > len(found)
        if full and t > first_step:
            break
        now = t - segment_start
        _deliver_older(now, max_delay, static, static_flight, plastic, plastic_flight, neurons, ltd)
        _deliver_youngest(now, pending, static, static_flight, plastic, plastic_flight, neurons, ltd)
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
def _resume(steps: NDArray[np.int64], ids: NDArray[np.int32], start: int, projection: Projection, fields: int, flight: Flight) -> None:
    """Put spikes of before the segment's start into the flight, each past the synapses at which it has arrived.

    steps, ids : (n_spikes,), ordered by time. Those of the last step have not taken off yet and are left out.
    """
    bounds = flight.bounds
    n = k = 0
    for age in range(len(bounds) - 2, 0, -1):
        while k < len(ids) and start - 1 - steps[k] == age:
            at, end = projection.first[ids[k]], projection.first[ids[k] + 1]
            while at < end and delay_of(projection.synapses[at * fields]) <= np.uint32(age):
                at += 1
            if at < end:
                flight.cursor[n], flight.stop[n] = np.uint64(at), np.uint64(end)
                n += 1
            k += 1
        bounds[age] = n


def _with_room(flight: Flight, n_departing: int) -> Flight:
    """The flight, or a copy in larger arrays if so many spikes more do not fit."""
    n = flight.bounds[1]
    if n + n_departing <= len(flight.cursor):
        return flight
    larger = np.empty((2, 2 * (n + n_departing)), np.uint64)
    larger[:, :n] = flight.cursor[:n], flight.stop[:n]
    return Flight(larger[0], larger[1], flight.bounds)


# --- loading ------------------------------------------------------------------------------------------------------------


def _largest_part(run: RunConfig, n_ranks: int) -> int:
    """Neurons of the rank that owns most."""
    return int(max(local_offsets(run, owned_blocks(run.n_blocks, rank, n_ranks))[-1] for rank in range(n_ranks)))


def _load_neurons(run: RunConfig, segment: int, blocks: Sequence[int]) -> tuple[Neurons, state.History]:
    """The neurons of a rank's blocks as they are at a segment's start, and the spikes of all neurons that still matter."""
    ids = np.concatenate([np.arange(*run.block_range(block), dtype=np.int32) for block in blocks])
    n = len(ids)
    if n > MAX_LOCAL_NEURONS:
        raise SimulationError(f"{n:,} neurons on a rank; expected at most {MAX_LOCAL_NEURONS:,}: take more ranks (simulation.ranks)")
    membranes, history = state.start(run, ids) if segment == 0 else state.read(run, segment - 1, blocks)
    last_spike = np.maximum(history.last_spikes()[ids] - run.segment_range(segment)[0], _NO_SPIKE).astype(np.int32)
    # a run ends where the population changes or ids jump
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
    """Refuse a network and drive whose input to a neuron might not fit in 32 bits, everything arriving at once.

    largest : (n_local,) sum of the largest |weights| of a neuron's synapses [2^-16 mV].
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
            f"neuron {neurons.ids[worst]}: weights, kick, current, Poisson input and drive.events of one step may add up to "
            f"{total[worst] / UNITS_PER_MV:.0f} mV; expected less than 32,768 mV: inputs are 32-bit integers"
        )
