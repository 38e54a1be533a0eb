"""Training of one model on several MPI ranks, bit-identical to training on one.

Each batch is split into a fixed number of parts (`models.<name>.parts`). The ranks share the parts, and
gradients are summed in the order of the parts. The gradient of a part does not depend on the rank that
computes it: all ranks hold the same weights, and the dropout of each part has its own seed. Results therefore
do not depend on the number of ranks. The usual all-reduce of one gradient per rank would round differently,
and training amplifies small differences: 1e-8 in a loss after one epoch becomes up to 7e-4 after four.
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
"""Time between two calls that let MPI make progress [s]."""


@dataclass(frozen=True)
class Ranks:
    """This process among the ranks that train one model; by default the only one."""

    comm: Comm | None = None
    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Rank among those on this machine."""

    @property
    def device(self) -> torch.device:
        """This rank's GPU if there is one, else the CPU. A launcher may expose only one GPU to each rank."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local_rank % torch.cuda.device_count())

    def own(self, n_parts: int) -> range:
        """The parts that this rank computes."""
        return range(self.rank * n_parts // self.size, (self.rank + 1) * n_parts // self.size)

    def gather(self, own: Tensor, n_parts: int) -> Tensor:
        """Gather the rows of all parts, (n_parts, n), from this rank's rows, (n_own, n)."""
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
        """Sum arrays over ranks, where each rank has filled in different elements and left the others 0."""
        if self.size == 1:
            return values
        merged = values.to(self.device, copy=True)
        with _waiting_for_others():
            dist.all_reduce(merged)
        return merged.to(values.device)

    def read_by_first(self, content: bytes | None) -> bytes | None:
        """Broadcast what the first rank has read."""
        return content if self.comm is None else self.comm.bcast(content)  # type: ignore[no-any-return]

    def wait(self) -> None:
        """Wait for all ranks, without a timeout."""
        if self.comm is not None:
            self.comm.Barrier()


ALONE = Ranks()
"""One process, without MPI."""


@contextmanager
def joined(comm: Comm | None) -> Iterator[Ranks]:
    """Connect the ranks of a communicator by torch.distributed, with nccl on GPUs and gloo on CPUs.

    Raises
    ------
    SpikelensError
        If the ranks cannot connect to each other.
    """
    if comm is None:
        yield ALONE
        return
    from lightning.pytorch.plugins.environments import MPIEnvironment
    from mpi4py import MPI

    with _messages_going_out(comm):
        environment, here = MPIEnvironment(), comm.Split_type(MPI.COMM_TYPE_SHARED)
        ranks = Ranks(comm, environment.global_rank(), environment.world_size(), here.Get_rank())
        # the host's own name may not resolve
        address = "127.0.0.1" if here.Get_size() == ranks.size else environment.main_address
        port = environment.main_port
        backend = "gloo" if ranks.device.type == "cpu" else "nccl"
        try:
            socket.getaddrinfo(address, port)  # torch would retry for half an hour
            dist.init_process_group(backend, init_method=f"tcp://{address}:{port}", rank=ranks.rank, world_size=ranks.size)
        except (OSError, RuntimeError) as error:
            raise SpikelensError(
                f"the ranks cannot connect to each other through {address}:{port} ({error}); if the host name "
                "resolves to an address that other hosts cannot reach, set the network interface to use, "
                f"e.g. {backend.upper()}_SOCKET_IFNAME=eth0"
            ) from error
        yield ranks
        dist.destroy_process_group()


@contextmanager
def _messages_going_out(comm: Comm) -> Iterator[None]:
    """Let MPI make progress while this rank computes or waits in torch.distributed.

    MPI may return from a broadcast before the message is sent, and send it during a later MPI call. Without a
    later call, other ranks wait for the message while this rank waits for them in torch.distributed: a
    deadlock, which occurred between machines.
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
    """Report a broken connection as the loss of another rank, not as an error of this one."""
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(f"lost the connection to another rank ({error})") from error


def repeatable() -> None:
    """Make torch use deterministic algorithms; on a GPU this needs a setting of cuBLAS.

    On a GPU, torch warns and falls back to a non-deterministic algorithm where it has no deterministic one,
    e.g. in the backward pass of the TFT's linear interpolation.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
