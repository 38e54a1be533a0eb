"""What each job of the workflow writes: the one statement of it, which the rules declare and `spikelens status` looks for.

Paths lie below the folder that all runs of a configuration share (`places.root`). The Snakefile imports this module whenever it is
read, by each job again: nothing that takes time is imported here. No stage imports it, since a stage's results would then seem to
follow from it (fingerprint.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from spikelens.config import RunConfig, Stage, require_stage, valid_stages
from spikelens.explanation.contents import TABLES
from spikelens.places import method_folder, models_folder, root, stage_folder
from spikelens.report.contents import PAGE, SUMMARY, figures_of
from spikelens.stores import (
    ANY_SYNAPSE,
    BLOCK_STORES,
    Group,
    StoreName,
    block_layout,
    layout,
    method_output,
    model_output,
    recorded_synapses_layout,
)

Rule = str
"""A stage, or an item of one: "models.tft_neuron"."""

_WILDCARDS = {"segment": "{segment}", "block": "{block}", "seed": "{seed}"}


def stage_of(rule: Rule) -> Stage:
    """The stage that a rule belongs to."""
    return rule.partition(".")[0]  # type: ignore[return-value]


def item_of(rule: Rule) -> str:
    """The item that a rule computes; of a stage without items, an empty name."""
    return rule.partition(".")[2]


@dataclass(frozen=True)
class Work:
    """The jobs that share a key: those of a stage, or of one model."""

    rule: Rule
    folder: str
    """Where the results are kept: `<stage>/<key>`, of an item `<stage>/<name>/<key>`."""
    named: str
    """The name of a job, with {segment}, {block} and {seed} in the place of its numbers."""
    paths: tuple[str, ...]
    """The files of a job, with {segment}, {block} and {seed} in the place of its numbers."""
    numbers: tuple[Mapping[str, int], ...]
    """Of each job."""

    @property
    def stage(self) -> Stage:
        return stage_of(self.rule)

    @property
    def item(self) -> str:
        """The name of the item, if the stage has any."""
        return item_of(self.rule)

    @property
    def key(self) -> str:
        """What the results follow from (`fingerprint`)."""
        return self.folder.rpartition("/")[2]

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        return tuple(Job(self, numbers) for numbers in self.numbers)


@dataclass(frozen=True)
class Job:
    """One job, and what it writes."""

    work: Work
    numbers: Mapping[str, int]

    @property
    def rule(self) -> Rule:
        return self.work.rule

    @property
    def stage(self) -> Stage:
        return self.work.stage

    @cached_property
    def name(self) -> str:
        """Its name among the jobs of its folder: "3" for a segment, "3-1" for a segment and block, "1" for a model's seed."""
        return self.work.named.format(**self.numbers)

    @property
    def files(self) -> list[str]:
        return [path.format(**self.numbers) for path in self.work.paths]

    @property
    def manifest(self) -> str:
        """The list of its files that it writes last (`manifests`)."""
        return f"{self.work.folder}/manifests/{self.name}.json"

    @property
    def made(self) -> str:
        """The flag that jobs which read its results have as input."""
        return f"{self.work.folder}/done/{self.name}.made"

    @property
    def whole(self) -> str:
        """The flag that all its files are there."""
        return f"{self.work.folder}/done/{self.name}.whole"

    @property
    def log(self) -> str:
        return f"{self.work.folder}/logs/{self.name}.log"

    @property
    def benchmark(self) -> str:
        return f"{self.work.folder}/benchmarks/{self.name}.tsv"


def work_of(run: RunConfig) -> Iterator[Work]:
    """The jobs of a run, in the order of the stages; only of stages that can be run with its configuration."""
    stages, blocks = valid_stages(run), range(run.n_blocks)
    folder = {stage: _below(run, stage_folder(run, stage)) for stage in stages if stage != "models"}
    if "network" not in stages:
        return
    yield Work("network", folder["network"], "{block}", _shards(run, "network"), _numbered(block=blocks))
    if "simulation" not in stages:
        return
    shards = _shards(run, "spikes", "state", "weights", "records")
    of_segment = tuple(dict.fromkeys(path.format(segment="{segment}", block=block) for block in blocks for path in shards))
    segments = range(run.n_segments)
    yield Work("simulation", folder["simulation"], "{segment}", of_segment, _numbered(segment=segments))
    if "features" not in stages:
        return
    yield Work("features", folder["features"], "{segment}-{block}", _shards(run, "features"), _numbered(segment=segments, block=blocks))
    for name, model in run.models.items() if "models" in stages else ():
        models = _below(run, models_folder(run, name))
        files = tuple(f"{models}/{{seed}}/{file}" for file in model.FILES)
        arrays = tuple(_below(run, path) for path in model_output(run, name, "{seed}").shard_paths())
        yield Work(f"models.{name}", models, "{seed}", (*files, *arrays), _numbered(seed=model.seeds))
    if "explanation" not in stages:
        return
    for name in run.methods:
        output = method_output(run, name)
        arrays = tuple(_below(run, path) for path in output.shard_paths())
        yield Work(f"explanation.{name}", _below(run, method_folder(run, name)), "method", arrays, _numbered())
    yield Work(
        "explanation", folder["explanation"], "explanation", tuple(f"{folder['explanation']}/{file}" for file in TABLES), _numbered()
    )
    if "report" not in stages:
        return
    items = tuple(f"{folder['report']}/{file}" for file in (*(shown.file for shown in figures_of(run)), PAGE, SUMMARY))
    yield Work("report", folder["report"], "report", items, _numbered())


def _numbered(**ranges: Iterable[int]) -> tuple[dict[str, int], ...]:
    """All combinations of the numbers; the last one varies fastest."""
    return tuple(dict(zip(ranges, numbers, strict=True)) for numbers in itertools.product(*ranges.values()))


def jobs_of(run: RunConfig) -> Iterator[Job]:
    """Every job of a run."""
    return itertools.chain.from_iterable(work.jobs for work in work_of(run))


def job_of(run: RunConfig, rule: Rule, numbers: Mapping[str, int]) -> Job:
    """The job of a rule with these numbers.

    Raises
    ------
    SpikelensError
        If its stage cannot be run with this configuration.
    """
    require_stage(run, stage_of(rule))
    return Job(next(work for work in work_of(run) if work.rule == rule), numbers)


def _shards(run: RunConfig, *stores: StoreName) -> tuple[str, ...]:
    """The shards of stores."""
    return tuple(
        _below(run, group.shard_path(name, [_WILDCARDS.get(kind, "0") for kind in array.by or ("",) * len(array.shape)]))
        for store in stores
        for group in _groups(run, store)
        for name, array in group.arrays.items()
    )


def _groups(run: RunConfig, store: StoreName) -> Iterator[Group]:
    """The groups of a store, those of all blocks as one; the names of their files do not depend on the synapses."""
    yield layout(run, store)
    if store in BLOCK_STORES:
        group = block_layout(run, store, 0, 1)
        yield replace(group, path=group.path.with_name("{block}"))
    if store == "records" and run.simulation.record.synapses:
        yield recorded_synapses_layout(run, ANY_SYNAPSE)


def _below(run: RunConfig, path: Path) -> str:
    return str(path.relative_to(root(run)))
