"""The few MPI idioms that the simulation needs, in one place.

Ranks own consecutive blocks of neurons. Each step they tell each other who spiked: one Allgather of a small fixed size, and only
when a rank has more spikes than fit there, an Allgatherv of all of them. Since the counts are part of the first message, every
rank knows alike whether the second is needed.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from spikelens import watch
from spikelens.errors import SimulationError, mendable

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

FIXED_SPIKES = 63
"""Spikes a rank can send in the fixed-size message of a step."""
_FORWARDING_S = 0.5
"""Time that a launcher gets to pass the last message on: what it has not read when ranks are aborted, it drops."""
_LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where launchers tell a process how many they started; SLURM_NTASKS would stand in a plain batch script, too."""


def world(expected_ranks: int | None) -> Comm | None:
    """Start MPI and return the communicator of all ranks, or None if one rank was asked for and one is there.

    Raises
    ------
    SimulationError
        If another number of ranks was started than asked for: a launcher that does not fit the MPI library starts
        independent processes, each of which would think that it is alone. Or if several were started and none asked for.
    """
    if expected_ranks is None:
        _refuse_company()
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise SimulationError(f"MPI cannot be started ({error}); install an MPI library, e.g. pip install mpich") from error
    comm = MPI.COMM_WORLD
    if comm.Get_size() != expected_ranks:
        raise SimulationError(
            f"{comm.Get_size()} MPI ranks were started, {expected_ranks} were asked for (--ranks); start with the mpiexec (or srun) "
            "that belongs to the MPI library of mpi4py"
        )
    return comm if expected_ranks > 1 else None


def _refuse_company() -> None:
    """Refuse to be one of several processes that would each do the whole work, on the same files."""
    for name in _LAUNCHED:
        started = os.environ.get(name, "1")
        if started.isdigit() and int(started) > 1:
            raise SimulationError(f"{started} processes were started ({name}), but --ranks is not given; say --ranks {started}")


def owned_blocks(n_blocks: int, rank: int, n_ranks: int) -> range:
    """The blocks that a rank owns: consecutive, and as evenly as whole blocks allow."""
    return range(rank * n_blocks // n_ranks, (rank + 1) * n_blocks // n_ranks)


class SpikeExchange:
    """Tells every rank which neurons spiked in a step, on any rank, in increasing order."""

    def __init__(self, comm: Comm) -> None:
        self._comm = comm
        self._own = np.zeros(FIXED_SPIKES + 1, np.int32)
        self._all = np.zeros((comm.Get_size(), FIXED_SPIKES + 1), np.int32)

    def __call__(self, own: NDArray[np.int32]) -> NDArray[np.int32]:
        """Exchange the ids (n_own,) of this rank's spikes for those of all ranks (n_all,)."""
        self._own[0] = len(own)
        sent = min(len(own), FIXED_SPIKES)
        self._own[1 : 1 + sent] = own[:sent]
        self._comm.Allgather(self._own, self._all)
        counts = self._all[:, 0]
        if counts.max() <= FIXED_SPIKES:
            return np.concatenate([row[1 : 1 + row[0]] for row in self._all])
        everyone = np.empty(counts.sum(), np.int32)
        self._comm.Allgatherv(own, (everyone, counts))
        return everyone


@contextmanager
def watched(comm: Comm | None, log_file: str | None = None) -> Iterator[None]:
    """End all ranks if this one fails within, saying why; have another process on each machine tell which rank was killed.

    Parameters
    ----------
    log_file : str, optional
        Where that is written, too.
    """
    if comm is None:
        yield
        return
    from mpi4py import MPI

    here = comm.Split_type(MPI.COMM_TYPE_SHARED)
    processes = here.gather((comm.Get_rank(), os.getpid()))
    watcher = _start_watcher(processes, log_file) if processes and hasattr(os, "pidfd_open") else None
    number = here.bcast(watcher and watcher.pid)
    try:
        yield
    except BaseException as error:
        if number is not None:
            os.kill(number, signal.SIGTERM)  # this rank speaks for itself
        abort(comm, error)
    if watcher is not None:
        watcher.communicate(watch.DONE)
    here.Barrier()  # before it is told, no rank may end


def _start_watcher(processes: list[tuple[int, int]], log_file: str | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", watch.__file__, log_file or "", *(f"{rank}={process}" for rank, process in processes)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # else the launcher kills it with the ranks


def abort(comm: Comm, error: BaseException) -> NoReturn:
    """End all ranks because of an error on this one, saying which rank and why."""
    rank, message = comm.Get_rank(), mendable(error)
    try:
        if message is not None:
            log.error("rank %d: %s", rank, message)
        else:
            log.critical("rank %d failed", rank, exc_info=error)
        sys.stderr.flush()
        time.sleep(_FORWARDING_S)
    finally:  # without memory, even a message may fail; the others would wait for ever
        comm.Abort(1 if message is None else 2)
    raise SystemExit(1)  # Abort does not return; this is for the type checker
