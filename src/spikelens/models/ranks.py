"""Several MPI ranks that train one model, to the same bits as a single one.

A batch is computed in a fixed number of parts (`models.<name>.parts`), each by itself; ranks share the parts, and add up their gradients
in the order of the parts. A part's numbers do not depend on which rank computes it: each holds the same weights, and the dropout of
a part is drawn from a seed of its own. So nothing depends on the number of ranks. Summing each rank's own gradients, as is common, would
round differently, and training makes much of little: of 1e-8 in a loss after an epoch, up to 7e-4 after four.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor

from spikelens.errors import LostRankError, SpikelensError

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

_BETWEEN_CALLS_S = 0.01
"""Time between two calls that let MPI work."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model; by itself, the only one."""

    comm: Comm | None = None
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Number among the ranks on this machine."""

    @property
    def device(self) -> torch.device:
        """This rank's GPU, where there are any; a launcher may show each rank its own alone."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local_rank % torch.cuda.device_count())

    def own(self, n_parts: int) -> range:
        """The parts that this rank computes."""
        return range(self.rank * n_parts // self.size, (self.rank + 1) * n_parts // self.size)

    def gather(self, own: Tensor, n_parts: int) -> Tensor:
        """Rows of all parts, (n_parts, n), from those of this rank's, (n_own, n)."""
        if self.size == 1:
            return own
        most = -(-n_parts // self.size)
        padded = torch.cat([own, own.new_zeros(most - len(own), own.shape[1])])
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        with _waiting_for_others():
            dist.all_gather(gathered, padded)
        counts = [len(Ranks(rank=rank, size=self.size).own(n_parts)) for rank in range(self.size)]
        return torch.cat([rows[:count] for rows, count in zip(gathered, counts, strict=True)])

    def merge(self, values: Tensor) -> Tensor:
        """Join arrays of which each rank has filled in other elements, and left 0 elsewhere."""
        if self.size == 1:
            return values
        merged = values.to(self.device, copy=True)
        with _waiting_for_others():
            dist.all_reduce(merged)
        return merged.to(values.device)

    def read_by_first(self, content: bytes | None) -> bytes | None:
        """What the first rank has read, on every rank."""
        return content if self.comm is None else self.comm.bcast(content)  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Wait for all ranks, however long it takes."""
        if self.comm is not None:
            self.comm.Barrier()


ALONE = Ranks()
"""One process, without MPI."""


@contextmanager
def joined(comm: Comm | None) -> Iterator[Ranks]:
    """Let torch.distributed connect the ranks of a communicator, by nccl where there are GPUs, else by gloo.

    Raises
    ------
    SpikelensError
        If the ranks do not reach each other.
    """
    if comm is None:
        yield ALONE
        return
    from lightning.pytorch.plugins.environments import MPIEnvironment
    from mpi4py import MPI

    with _messages_going_out(comm):
        environment, here = MPIEnvironment(), comm.Split_type(MPI.COMM_TYPE_SHARED)
        ranks = Ranks(comm, environment.global_rank(), environment.world_size(), here.Get_rank())
        # a machine's own name may lead nowhere
        address = "127.0.0.1" if here.Get_size() == ranks.size else environment.main_address
        port = environment.main_port
        backend = "gloo" if ranks.device.type == "cpu" else "nccl"
        try:
            socket.getaddrinfo(address, port)  # torch would ask again for half an hour
            dist.init_process_group(backend, init_method=f"tcp://{address}:{port}", rank=ranks.rank, world_size=ranks.size)
        except (OSError, RuntimeError) as error:
            raise SpikelensError(
                f"the ranks do not reach each other through {address}:{port} ({error}); if a machine's name leads to an address that "
                f"others cannot use, name the network interface they share, e.g. {backend.upper()}_SOCKET_IFNAME=eth0"
            ) from error
        yield ranks
        dist.destroy_process_group()


@contextmanager
def _messages_going_out(comm: Comm) -> Iterator[None]:
    """Let MPI do its work now and then, while this rank computes, or waits for others by other means.

    MPI may return from a broadcast before its message is on its way, and sends it during a later call. Without one, the ranks that
    wait for the message, and this one that waits for them elsewhere, would do so for ever; between machines they did.
    """
    from mpi4py import MPI

    ended = threading.Event()

    def work() -> None:
        while not ended.wait(_BETWEEN_CALLS_S):
            comm.Iprobe()

    thread = threading.Thread(target=work, daemon=True)
    if MPI.Query_thread() == MPI.THREAD_MULTIPLE:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()


@contextmanager
def _waiting_for_others() -> Iterator[None]:
    """Tell a broken connection from a fault of this rank's."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(f"another rank cannot be reached any more ({error})") from error


def repeatable() -> None:
    """Let torch use algorithms that give the same bits each time; on a GPU, that takes a setting of cuBLAS's.

    On a GPU it may use others where it has none, and warns: the TFT's linear interpolation goes back through such a one.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
