"""The section `cluster`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spikelens.config.types import Positive, Section


class Cluster(Section):
    """What the cluster gives a job. No result depends on it, so a change makes nothing again."""

    limit_min: Annotated[Positive | None, Field(description="longest time a job may run, the partition's limit [min]; null: none")] = None
    ranks_per_node: Annotated[Positive | None, Field(description="MPI ranks of a job on one node; null: wherever there is room")] = None
    srun: Annotated[str, Field(min_length=1, description="how a job starts MPI ranks; `srun --mpi=list` says what there is")] = (
        "env MPIR_CVAR_CH4_NETMOD=ofi srun --mpi=pmi2 --kill-on-bad-exit=1"
    )
    modules: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, description="environment modules of each job")
    ] = ()
    gpus: Annotated[bool, Field(description="a GPU for each rank of a training")] = False
