"""The section `recording`: spikes from a file, instead of a network and its simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from spikelens.config.types import MAX_SHARD_BYTES, Positive, Section, whole
from spikelens.errors import Problem

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

MAX_TABLE_S = 2**31 // 1000
"""Maximum duration [s]: steps are 32-bit integers."""


class Recording(Section):
    """The file of spikes, its populations and duration, and the division into jobs and files."""

    file: Annotated[str, Field(min_length=1, description="table (parquet, csv, npz) of time_ms and neuron, relative to the working folder")]
    populations: Annotated[
        dict[Annotated[str, Field(pattern=r"^\w+$")], Positive],
        Field(min_length=1, description="name -> number of neurons; ids from 0 follow this order"),
    ]
    duration_s: Annotated[Positive, Field(le=MAX_TABLE_S, description="length of the recording; a spike after this time is an error [s]")]
    segment_s: Annotated[Positive, Field(description="time per job and file [s]")] = 60
    block_size: Annotated[Positive, Field(description="neurons per storage block")] = 250
    chunk_ms: Annotated[Positive, Field(description="duration of a Zarr chunk [ms]; divides the segment")] = 1000
    chunk_neurons: Annotated[Positive, Field(description="neurons per Zarr chunk; divides block_size")] = 250

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Set defaults: a segment is at most the duration, and a chunk has at most 250 neurons and divides a block."""
        if not isinstance(given, Mapping):
            return given
        duration_s, block_size = whole(given.get("duration_s")), whole(given.get("block_size"))
        following: dict[str, int] = {}
        if duration_s is not None:
            following["segment_s"] = min(60, duration_s)
        if block_size is not None:
            following["chunk_neurons"] = max(n for n in range(1, min(250, block_size) + 1) if block_size % n == 0)
        return {**following, **given}

    @property
    def neurons(self) -> int:
        return sum(self.populations.values())


def check_recording(run: RunConfig) -> Iterator[Problem]:
    recording = run.recording
    if recording is None:
        return
    if recording.segment_s > recording.duration_s:
        yield Problem("recording.segment_s", recording.segment_s, f"expected at most recording.duration_s = {recording.duration_s}")
    if run.segment_steps % recording.chunk_ms:
        yield Problem("recording.chunk_ms", recording.chunk_ms, f"expected a divisor of the segment, {run.segment_steps} ms")
    if recording.block_size % recording.chunk_neurons:
        yield Problem("recording.chunk_neurons", recording.chunk_neurons, f"expected a divisor of block_size = {recording.block_size}")
    if run.segment_steps * recording.block_size > MAX_SHARD_BYTES:
        yield Problem(
            "recording.block_size",
            recording.block_size,
            f"segment x block exceeds {MAX_SHARD_BYTES // 2**20} MB; use smaller blocks or a smaller recording.segment_s",
        )
