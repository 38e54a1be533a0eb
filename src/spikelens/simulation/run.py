"""Simulate one segment on one rank: load its blocks, simulate, write its blocks.

A rank owns blocks of neurons and all synapses onto them. Local indices number its neurons in the order of its
blocks. Spikes are stored as lists, one second at a time: counts per step, and neurons. They are converted to
a dense raster only when a shard is written.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.errors import SimulationError
from spikelens.limits import Deadline
from spikelens.mpi import owned_blocks
from spikelens.progress import Progress
from spikelens.simulation.part import Part

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)
_LATE = (
    "The job stops now, and nothing of the segment is written. Request more time (snakemake --set-resources "
    "simulate:runtime={minutes}; in a sweep, names of rules end in a number), or use a smaller simulation.segment_s "
    "(`spikelens plan` finds one that fits a limit) or more ranks (simulation.ranks)"
)
"""What to do about a segment that will not finish in time."""


def simulate_segment(run: RunConfig, segment: int, comm: Comm | None = None, deadline: Deadline | None = None) -> dict[str, float]:
    """Simulate one segment from the state at its start, and write spikes, weights and the state at its end.

    Parameters
    ----------
    comm : mpi4py communicator, optional
        The ranks that share the work; None for a single process.
    deadline : Deadline, optional
        Time limit of the process. Rank 0 checks it. Other ranks are at most one step ahead of rank 0, so none
        has begun to write when rank 0 aborts all ranks (`mpi.watched`).

    Returns
    -------
    dict of str to float
        Time that this rank spent in each of `PHASES` [s].

    Raises
    ------
    SimulationError
        If there are more ranks than blocks, the state at the start is from another run, a recorded pair has
        no synapse, or a membrane potential is no longer finite.
    SpikelensError
        If the segment will not finish in time; nothing of it has been written then.
    """
    rank, n_ranks = (0, 1) if comm is None else (comm.Get_rank(), comm.Get_size())
    if n_ranks > run.n_blocks:
        raise SimulationError(f"{n_ranks} ranks, but only {run.n_blocks} blocks (network.block_size = {run.network.block_size})")
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
        log.warning("%s: no spikes; is the drive too weak (drive.kick_mv, poisson, current_mv, events)?", what)
    log.info("rank %d: %s", rank, ", ".join(f"{name} {seconds:.2f} s" for name, seconds in part.clock.seconds.items()))
    if comm is not None:
        comm.Barrier()  # the next segment reads the state of all ranks
    return part.clock.seconds
