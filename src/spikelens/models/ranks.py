"""Several MPI ranks that train one model: each takes its rows of every batch, and gradients are added up.

Every rank holds the same weights and draws the same random numbers: the order of the items, and the dropout of a whole batch, of which
it keeps its own rows. What a step of the optimiser gets is the gradient of the batch's mean loss, as if one rank had computed it; the
numbers of ranks differ in the rounding of that sum alone. A plain sum is all that is needed, so Lightning's trainer runs on each rank
as if it were alone: its own strategy for several processes would average over ranks whose parts of a short batch are not equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from spikelens.errors import SpikelensError

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


class Part(NamedTuple):
    """The rows of a batch that a rank takes.

    A rank for which a short batch has none takes the first row, but does not count it: all ranks do the same steps.
    """

    rows: slice
    n_own: int
    n_batch: int


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model; by itself, the only one."""

    comm: Comm | None = None
    rank: int = 0
    size: int = 1
    gpu: int | None = None
    """Which of this machine's GPUs is this rank's; not said of a rank that is alone."""

    def part(self, n_batch: int) -> Part:
        """What this rank takes of a batch of `n_batch` items."""
        first, end = (rank * n_batch // self.size for rank in (self.rank, self.rank + 1))
        return Part(slice(first, end) if end > first else slice(0, 1), end - first, n_batch)

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all ranks, the same bits on each."""
        if self.size == 1:
            return values
        total = values.clone() if self.gpu is None else values.to(f"cuda:{self.gpu}", copy=True)
        dist.all_reduce(total)
        return total.to(values.device)

    def add_up_gradients(self, parameters: Iterable[nn.Parameter], part: Part) -> None:
        """Replace each gradient of the mean over this rank's rows by that of the mean over the whole batch."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        total = self.add_up(part.n_own / part.n_batch * torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, summed in zip(gradients, torch.split(total, [gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

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

    environment = MPIEnvironment()
    address, port = environment.main_address, environment.main_port
    # a launcher may show each rank its own GPU alone
    gpu = environment.local_rank() % torch.cuda.device_count() if torch.cuda.is_available() else None
    ranks = Ranks(comm, environment.global_rank(), environment.world_size(), gpu)
    backend = "gloo" if gpu is None else "nccl"
    try:
        dist.init_process_group(backend, init_method=f"tcp://{address}:{port}", rank=ranks.rank, world_size=ranks.size)
    except RuntimeError as error:
        raise SpikelensError(
            f"the ranks do not reach each other through {address}:{port} ({error}); if a machine's name leads to an address that others "
            f"cannot use, name the network interface they share, e.g. {backend.upper()}_SOCKET_IFNAME=eth0"
        ) from error
    yield ranks
    dist.destroy_process_group()


class PartOfDropout(nn.Dropout):
    """Dropout of this rank's rows, (n_own, ...), by the numbers that a single rank would draw for the whole batch."""

    part: Part

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return values
        whole = nn.functional.dropout(values.new_ones(self.part.n_batch, *values.shape[1:]), self.p)
        return values * whole[self.part.rows]


def share_dropout(module: nn.Module) -> list[PartOfDropout]:
    """Put a `PartOfDropout` in the place of every dropout in a module; each needs to be told its `part` before every batch."""
    shared = []
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                shared.append(PartOfDropout(child.p))
                setattr(parent, name, shared[-1])
    return shared
