"""The section `cluster`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spikelens.config.types import Positive, Section


class Cluster(Section):
    """Resources of jobs on a cluster. Results do not depend on them, so a change recomputes nothing."""

    limit_min: Annotated[Positive | None, Field(description="time limit of jobs in the partition [min]; null: none")] = None
    ranks_per_node: Annotated[Positive | None, Field(description="MPI ranks per node; null: chosen by the scheduler")] = None
    srun: Annotated[str, Field(min_length=1, description="command that starts MPI ranks; see `srun --mpi=list`")] = (
        "env MPIR_CVAR_CH4_NETMOD=ofi srun --mpi=pmi2 --kill-on-bad-exit=1"
    )
    modules: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, description="environment modules that each job loads")
    ] = ()
    gpus: Annotated[bool, Field(description="use one GPU per rank of a training run")] = False
