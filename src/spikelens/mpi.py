"""MPI functions for simulation and training.

Blocks of neurons are distributed round-robin, since neighbouring blocks often belong to one population and
the work per neuron differs between populations. In each step the ranks exchange their spikes with an
Iallgather of fixed size. If a rank has more spikes than fit, an Allgatherv of all spikes follows. The counts
are part of the first message, so all ranks agree on whether the second is needed. A rank delivers older
spikes during the first message.
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
from spikelens.errors import LostRankError, SimulationError, user_message

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

_MIN_FIXED_SPIKES = 63
_NEURONS_PER_FIXED_SPIKE = 64
"""A fixed-size message holds one spike per 64 neurons of the largest rank, which is a rate of 16 Hz."""
_FORWARDING_S = 0.5
"""Wait before an abort [s], since the launcher drops output that it has not forwarded by then."""
_LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Launchers' variables for the number of processes; not SLURM_NTASKS, which batch scripts have."""


def world(expected_ranks: int | None) -> Comm | None:
    """Start MPI and return the communicator of all ranks, or None for a single rank.

    Raises
    ------
    SimulationError
        If the number of ranks differs from `expected_ranks`: a launcher of another MPI library starts
        independent processes with one rank each. Or if `expected_ranks` is None and several processes were
        started.
    """
    if expected_ranks is None:
        _refuse_several_processes()
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise SimulationError(f"cannot start MPI ({error}); install an MPI library, e.g. pip install mpich") from error
    comm = MPI.COMM_WORLD
    if comm.Get_size() != expected_ranks:
        raise SimulationError(
            f"{comm.Get_size()} MPI ranks were started, expected {expected_ranks} (--ranks); use the mpiexec (or srun) of the MPI "
            "library that mpi4py uses"
        )
    return comm if expected_ranks > 1 else None


def _refuse_several_processes() -> None:
    """Raise if several processes were started, which would all do the whole work on the same files."""
    for name in _LAUNCHED:
        started = os.environ.get(name, "1")
        if started.isdigit() and int(started) > 1:
            raise SimulationError(f"{started} processes were started ({name}) without --ranks; use --ranks {started}")


def owned_blocks(n_blocks: int, rank: int, n_ranks: int) -> range:
    """Return the blocks of a rank: every n_ranks-th block."""
    return range(rank, n_blocks, n_ranks)


class SpikeExchange:
    """Exchange the spikes of a step: `start` sends those of this rank, `finish` receives those of all.

    Parameters
    ----------
    n_neurons : int
        Number of neurons of the largest rank; the same on all ranks.
    """

    def __init__(self, comm: Comm, n_neurons: int) -> None:
        self._comm = comm
        self._capacity = max(_MIN_FIXED_SPIKES, n_neurons // _NEURONS_PER_FIXED_SPIKE)
        self._message = np.zeros(self._capacity + 1, np.int32)
        self._all = np.zeros((comm.Get_size(), self._capacity + 1), np.int32)
        self._own = np.empty(0, np.int32)

    def start(self, own: NDArray[np.int32]) -> None:
        """Send the ids (n_own,) of this rank's spikes."""
        self._own = own
        self._message[0] = len(own)
        sent = min(len(own), self._capacity)
        self._message[1 : 1 + sent] = own[:sent]
        self._request = self._comm.Iallgather(self._message, self._all)

    def finish(self) -> NDArray[np.int32]:
        """Wait for the ids (n_all,) of the spikes of all ranks, ordered by rank."""
        self._request.Wait()
        counts = self._all[:, 0]
        if counts.max() <= self._capacity:
            return np.concatenate([row[1 : 1 + row[0]] for row in self._all])
        everyone = np.empty(counts.sum(), np.int32)
        self._comm.Allgatherv(self._own, (everyone, counts))
        return everyone


class NoExchange:
    """The same interface for a single rank."""

    def start(self, own: NDArray[np.int32]) -> None:
        self._own = own

    def finish(self) -> NDArray[np.int32]:
        return self._own


@contextmanager
def watched(comm: Comm | None, log_file: str | None = None) -> Iterator[None]:
    """Abort all ranks with a message if this rank fails; a watcher per machine reports killed ranks.

    Parameters
    ----------
    log_file : str, optional
        File to which the watcher also writes its report.
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
        if number is not None and not isinstance(error, LostRankError):
            os.kill(number, signal.SIGTERM)  # this rank reports its own error
        abort(comm, error)
    if watcher is not None:
        watcher.communicate(watch.DONE)
    here.Barrier()  # no rank may exit before the watcher has stopped


def _start_watcher(processes: list[tuple[int, int]], log_file: str | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", watch.__file__, log_file or "", *(f"{rank}={process}" for rank, process in processes)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # outlives the ranks


def abort(comm: Comm, error: BaseException) -> NoReturn:
    """Abort all ranks because of an error on this rank; report the rank and the error."""
    rank, message = comm.Get_rank(), user_message(error)
    try:
        if message is not None:
            log.error("rank %d: %s", rank, message)
        else:
            log.critical("rank %d failed", rank, exc_info=error)
        sys.stderr.flush()
        time.sleep(_FORWARDING_S)
    finally:  # out of memory, even logging can fail, and the other ranks would wait forever
        comm.Abort(1 if message is None else 2)
    raise SystemExit(1)  # Abort does not return; this is for the type checker
