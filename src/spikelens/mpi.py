"""The few MPI idioms that simulation and training need, in one place.

Blocks of neurons are dealt out to the ranks in turn, since neighbouring blocks are often of one population, and populations differ
in their work. Each step the ranks tell each other who spiked: one Allgather of a fixed size, and only when a rank has more spikes
than fit there, an Allgatherv of all of them. Since the counts are part of the first message, every rank knows alike whether the
second is needed. While the first is on its way, a rank delivers older spikes.
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
from spikelens.errors import LostRankError, SimulationError, mendable

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

log = logging.getLogger(__name__)

_LEAST_FIXED_SPIKES = 63
_NEURONS_A_FIXED_SPIKE = 64
"""The message of a step has room for the spikes of one in so many neurons of the largest rank: 16 Hz."""
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
    """The blocks that a rank owns: every n_ranks-th one."""
    return range(rank, n_blocks, n_ranks)


class SpikeExchange:
    """Tells every rank which neurons spiked in a step, on any rank: `start` sends this rank's, `finish` receives all.

    Parameters
    ----------
    n_neurons : int
        Neurons of the rank that has most of them; the same on every rank.
    """

    def __init__(self, comm: Comm, n_neurons: int) -> None:
        self._comm = comm
        self._room = max(_LEAST_FIXED_SPIKES, n_neurons // _NEURONS_A_FIXED_SPIKE)
        self._message = np.zeros(self._room + 1, np.int32)
        self._all = np.zeros((comm.Get_size(), self._room + 1), np.int32)
        self._own = np.empty(0, np.int32)

    def start(self, own: NDArray[np.int32]) -> None:
        """Send the ids (n_own,) of this rank's spikes."""
        self._own = own
        self._message[0] = len(own)
        sent = min(len(own), self._room)
        self._message[1 : 1 + sent] = own[:sent]
        self._request = self._comm.Iallgather(self._message, self._all)

    def finish(self) -> NDArray[np.int32]:
        """Wait for the ids (n_all,) of all ranks' spikes, rank by rank."""
        self._request.Wait()
        counts = self._all[:, 0]
        if counts.max() <= self._room:
            return np.concatenate([row[1 : 1 + row[0]] for row in self._all])
        everyone = np.empty(counts.sum(), np.int32)
        self._comm.Allgatherv(self._own, (everyone, counts))
        return everyone


class NoExchange:
    """The same for a rank that is alone."""

    def start(self, own: NDArray[np.int32]) -> None:
        self._own = own

    def finish(self) -> NDArray[np.int32]:
        return self._own


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
        if number is not None and not isinstance(error, LostRankError):
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
