"""Interface of this stage to the workflow: the jobs of each feature, their costs, and what their results depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelens.config import RunConfig
from spikelens.config.items import Read
from spikelens.jobs import Jobs, numbered, of_any_block, shards_of
from spikelens.keys import item_options
from spikelens.outputs import feature_block, feature_output

if TYPE_CHECKING:
    from spikelens.speeds import Speeds

JOB_NEURONS = 4_000
"""Approximate number of neurons per job."""


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    return run.features[item].reads(run)


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    """Without the duration, so that a run that is extended keeps its features."""
    return item_options(run, run.features[item])


def blocks_per_job(run: RunConfig) -> int:
    """Number of blocks that one job computes: enough that the start of the process does not dominate."""
    return max(1, JOB_NEURONS // run.block_size)


def jobs(run: RunConfig, item: str) -> Jobs:
    """One job per segment and group of blocks, named after the first block."""
    paths = shards_of(run, [feature_output(run, item), of_any_block(feature_block(run, item, 0, 1))])
    firsts = range(run.n_blocks)[:: blocks_per_job(run)]
    return Jobs("{segment}-{block}", paths, numbered(segment=range(run.n_segments), block=firsts), (*firsts, run.n_blocks))


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    return run.features[item].memory(run, rate_hz)


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    """The process starts once for all blocks of a job."""
    n_blocks = min(blocks_per_job(run), run.n_blocks)
    return speeds.start_s + n_blocks * (run.features[item].seconds(run, speeds, rate_hz) - speeds.start_s)
