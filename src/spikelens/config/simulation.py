"""The section `simulation`, and limits on the number and size of shards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from spikelens.config.types import (
    MAX_RECORDED,
    MAX_SHARD_BYTES,
    MAX_SHARDS_PER_JOB,
    MAX_SHARDS_PER_RUN,
    STEPS_PER_SECOND,
    Positive,
    Section,
    whole,
)
from spikelens.errors import Problem
from spikelens.names import Stage

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

NeuronId = Annotated[int, Field(ge=0, lt=2**31)]


class Record(Section):
    """Neurons and synapses whose variables are recorded."""

    every_ms: Annotated[Positive, Field(description="recording interval [ms]; divides 1,000 and simulation.chunk_ms")] = 1
    neurons: Annotated[
        tuple[NeuronId, ...], Field(max_length=MAX_RECORDED, strict=False, description="ids of neurons whose v and u are recorded")
    ] = ()
    synapses: Annotated[
        tuple[Annotated[tuple[NeuronId, NeuronId], Field(strict=False)], ...],
        Field(max_length=MAX_RECORDED, strict=False, description="pairs [source, target] of ids whose synaptic weights are recorded"),
    ] = ()


class Simulation(Section):
    """Duration, segments and ranks of the simulation."""

    duration_s: Annotated[Positive, Field(description="biological time [s]")] = 180
    segment_s: Annotated[
        Positive, Field(description="biological time per job [s]; by default 60 s, or the duration if that is shorter")
    ] = 60
    ranks: Annotated[Positive, Field(description="MPI ranks; results do not depend on it")] = 2
    plasticity: Annotated[bool, Field(description="STDP on plastic synapses")] = True
    weight_average: Annotated[
        bool | Literal["auto"],
        Field(description="store each weight's mean over a segment; auto: up to 10^7 expected synapses, always with an edge table"),
    ] = "auto"
    record: Record = Field(default_factory=Record)
    chunk_ms: Annotated[Positive, Field(description="time steps per Zarr chunk [ms]; divides the segment")] = 1_000
    chunk_neurons: Annotated[Positive, Field(description="neurons per Zarr chunk; divides network.block_size")] = 250

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Limit the default segment to the duration."""
        duration_s = whole(given.get("duration_s")) if isinstance(given, Mapping) else None
        return given if duration_s is None else {"segment_s": min(60, duration_s), **given}


def check_simulation(run: RunConfig) -> Iterator[Problem]:
    simulation, network = run.simulation, run.network
    if simulation.segment_s > simulation.duration_s:
        yield Problem("simulation.segment_s", simulation.segment_s, f"expected at most simulation.duration_s = {simulation.duration_s}")
    if simulation.ranks > run.n_blocks:
        yield Problem(
            "simulation.ranks",
            simulation.ranks,
            f"expected at most {run.n_blocks}, the number of blocks; use fewer ranks or a smaller network.block_size",
        )
    if run.segment_steps % simulation.chunk_ms:
        yield Problem("simulation.chunk_ms", simulation.chunk_ms, f"expected a divisor of the segment, {run.segment_steps} ms")
    if network.block_size % simulation.chunk_neurons:
        yield Problem(
            "simulation.chunk_neurons", simulation.chunk_neurons, f"expected a divisor of network.block_size = {network.block_size}"
        )
    if run.segment_steps * network.block_size > MAX_SHARD_BYTES:
        yield Problem(
            "network.block_size",
            network.block_size,
            f"segment x block exceeds {MAX_SHARD_BYTES // 2**20} MB; use smaller blocks or a smaller simulation.segment_s",
        )


def check_record(run: RunConfig) -> Iterator[Problem]:
    record, where = run.simulation.record, "simulation.record"
    if math.gcd(STEPS_PER_SECOND, run.simulation.chunk_ms) % record.every_ms:
        yield Problem(
            f"{where}.every_ms",
            record.every_ms,
            f"expected a divisor of {STEPS_PER_SECOND:,} and of simulation.chunk_ms = {run.simulation.chunk_ms}",
        )
    chosen: tuple[tuple[str, tuple[int | tuple[int, int], ...]], ...] = (("neurons", record.neurons), ("synapses", record.synapses))
    for key, items in chosen:
        for item in items:
            if max(item if isinstance(item, tuple) else (item,)) >= run.network.neurons:
                yield Problem(f"{where}.{key}", item, f"expected neuron ids in 0 .. {run.network.neurons - 1}")
                break
        twice = next((item for item, n in Counter(items).items() if n > 1), None)
        if twice is not None:
            yield Problem(f"{where}.{key}", twice, "duplicate entry; list it once")
        if 4 * len(items) * run.segment_steps // record.every_ms > MAX_SHARD_BYTES:
            yield Problem(
                f"{where}.{key}",
                len(items),
                f"the values recorded in a segment exceed {MAX_SHARD_BYTES // 2**20} MB; record fewer, or use a larger every_ms or "
                "a smaller simulation.segment_s",
            )


def record_shards(run: RunConfig) -> int:
    """Return the number of shards with recorded values (v, u, weights) per segment."""
    return run.records and 2 * bool(run.simulation.record.neurons) + bool(run.simulation.record.synapses)


def shards_per_block(run: RunConfig) -> dict[Stage, int]:
    """Return the number of shards of a stage per block (except for the network: per block and segment)."""
    layouts = [(feature.output(run), feature.block_output(run, 0, 1)) for feature in run.computed_features.values()]
    features = sum(len(found[0]) for pair in layouts for found in pair if found is not None)
    spikes: dict[Stage, int] = {"network": 8, "simulation": 8 + run.weight_average} if run.has_network else {"recording": 1}
    return {**spikes, "features": features}


def check_shard_numbers(run: RunConfig) -> Iterator[Problem]:
    """Check the number of files of the stages up to the spikes."""
    a_segment = _files_per_segment(run)
    if a_segment > MAX_SHARDS_PER_JOB:
        yield Problem(
            "network.block_size" if run.has_network else "recording.block_size",
            run.block_size,
            f"the job of a segment would write {a_segment:,} files; the maximum is {MAX_SHARDS_PER_JOB:,}; use larger blocks",
        )
    yield from _check_files(run, "the stages up to the spikes", _simulated_files(run))


def check_feature_shard_numbers(run: RunConfig) -> Iterator[Problem]:
    """Check the number of files of the stages up to the features."""
    of_features = run.n_segments * run.n_blocks * (shards_per_block(run)["features"] + 1)
    yield from _check_files(run, "the stages up to the features", _simulated_files(run) + of_features)


def _files_per_segment(run: RunConfig) -> int:
    """Number of files that the job of a segment writes, including its manifest."""
    return run.n_blocks * shards_per_block(run)[run.spikes_stage] + record_shards(run) + 1


def _simulated_files(run: RunConfig) -> int:
    """Number of files of the stages up to the spikes, including one manifest per job."""
    of_network = run.n_blocks * (shards_per_block(run)["network"] + 1) if run.has_network else 0
    return of_network + run.n_segments * _files_per_segment(run)


def _check_files(run: RunConfig, stages: str, n_files: int) -> Iterator[Problem]:
    if n_files > MAX_SHARDS_PER_RUN:
        yield Problem(
            run.segment_s_key,
            run.segment_s,
            f"{stages} would write {n_files:,} files; the maximum is {MAX_SHARDS_PER_RUN:,}; use longer segments or larger blocks",
        )
