"""Interface of this stage to the workflow: the jobs of each model, their costs, and what their results depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelens.config import RunConfig
from spikelens.config.items import Read
from spikelens.jobs import Jobs, below, numbered
from spikelens.keys import item_options, keyed
from spikelens.outputs import model_output
from spikelens.places import place_of

if TYPE_CHECKING:
    from spikelens.speeds import Speeds


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    return run.models[item].reads(run)


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    return {**item_options(run, run.models[item]), "training": keyed(run.training), "duration_s": run.duration_s}


def jobs(run: RunConfig, item: str) -> Jobs:
    """One job per seed."""
    place = below(run, place_of(run, "models", item))
    files = tuple(f"{place}/{{seed}}/{file}" for file in run.models[item].FILES)
    arrays = tuple(below(run, path) for path in model_output(run, item, "{seed}").shard_paths())
    return Jobs("{seed}", (*files, *arrays), numbered(seed=run.models[item].seeds))


def ranks(run: RunConfig, item: str) -> int:
    return run.models[item].n_ranks


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    """Each rank holds all the data, and its part of a batch."""
    return run.models[item].memory(run)


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    return run.models[item].seconds(run, speeds)
