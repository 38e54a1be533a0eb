"""Interface of this stage to the workflow: its jobs, their costs, and what their results depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelens.config import RunConfig
from spikelens.config.items import Read
from spikelens.jobs import Jobs, numbered, of_all_blocks, shards
from spikelens.keys import content_of, keyed
from spikelens.sizes import COMPILED_BASE
from spikelens.tables import n_rows

if TYPE_CHECKING:
    from spikelens.speeds import Speeds


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    return ()


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    section = {**keyed(run.recording), "file": content_of(_file(run))}
    if run.n_steps % run.segment_steps == 0:  # a longer recording has the same first segments
        del section["duration_s"]
    return section


def jobs(run: RunConfig, item: str) -> Jobs:
    """One job per segment."""
    return Jobs("{segment}", of_all_blocks(run, shards(run, "spikes")), numbered(segment=range(run.n_segments)))


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    """The whole table and its columns, and the raster of a block while it is counted."""
    return float(COMPILED_BASE + 80 * n_rows(_file(run)) + 10 * run.segment_steps * min(run.block_size, run.n_neurons))


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    """Time of one segment, which reads the whole table [s]."""
    cells = run.segment_steps * run.n_neurons
    return speeds.start_s + 200e-9 * n_rows(_file(run)) + 1e-3 * run.n_blocks * speeds.write_ms_per_file + 10e-9 * cells


def _file(run: RunConfig) -> str:
    assert run.recording is not None
    return run.recording.file
