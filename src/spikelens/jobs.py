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
from typing import Any, NamedTuple

from spikelens.config import RunConfig, Stage, require_stage
from spikelens.fingerprint import reads_of, remembered
from spikelens.layouts import BLOCK_STORES, StoreName, block_layout, layout, recorded_synapses_layout
from spikelens.places import place_of, results_of, root
from spikelens.simulation.layout import ANY_SYNAPSE
from spikelens.stages import stage_module
from spikelens.stores import Group

Rule = str
"""A stage, or an item of one: "models.tft_neuron"."""

_WILDCARDS = {"segment": "{segment}", "block": "{block}", "seed": "{seed}"}


def stage_of(rule: Rule) -> Stage:
    """The stage that a rule belongs to."""
    return rule.partition(".")[0]  # type: ignore[return-value]


def item_of(rule: Rule) -> str:
    """The item that a rule computes; of a stage without items, an empty name."""
    return rule.partition(".")[2]


class Jobs(NamedTuple):
    """The jobs of a stage, or of one item of it (`stages`)."""

    named: str
    """The name of a job, with {segment}, {block} and {seed} in the place of its numbers."""
    paths: tuple[str, ...]
    """The files of a job, likewise."""
    numbers: tuple[Mapping[str, int], ...]
    """Of each job; its {block} is the first of its blocks."""
    blocks: tuple[int, ...] = ()
    """First block of each job, and one past the last block of all; empty where a job has one block, or none."""


@dataclass(frozen=True)
class Work:
    """The jobs that share a key: those of a stage, or of one item; `Jobs` and where their results are kept."""

    rule: Rule
    folder: str
    """Where the results are kept: `<stage>/<key>`, of an item `<stage>/<name>/<key>`."""
    named: str
    paths: tuple[str, ...]
    numbers: tuple[Mapping[str, int], ...]
    blocks: tuple[int, ...] = ()

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
    def blocks(self) -> range:
        """The blocks of neurons that it computes."""
        first = self.numbers["block"]
        bounds = self.work.blocks
        return range(first, bounds[bounds.index(first) + 1] if bounds else first + 1)

    @property
    def files(self) -> list[str]:
        if not self.work.blocks:
            return [path.format(**self.numbers) for path in self.work.paths]
        return [path.format(**{**self.numbers, "block": block}) for block in self.blocks for path in self.work.paths]

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
    with remembered():
        found = [_work(run, stage, item) for stage, item in results_of(run)]
    yield from found


def _work(run: RunConfig, stage: Stage, item: str) -> Work:
    """The jobs of a stage, or of one item of it."""
    rule = f"{stage}.{item}" if item else stage
    if (record := run.record) is not None:
        return Work(rule, **record[rule]["work"])
    return Work(rule, below(run, place_of(run, stage, item)), *stage_module(stage).jobs(run, item))


def record_of(run: RunConfig) -> dict[str, Any]:
    """What a run computes, by rule, for whoever does not execute its extensions (`config.extensions`)."""
    return {
        work.rule: {
            "key": work.key,
            "reads": reads_of(run, work.stage, work.item),
            "work": {name: getattr(work, name) for name in ("folder", "named", "paths", "numbers", "blocks")},
        }
        for work in work_of(run)
    }


def numbered(**ranges: Iterable[int]) -> tuple[dict[str, int], ...]:
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
    with remembered():
        return Job(_work(run, stage_of(rule), item_of(rule)), numbers)


def shards(run: RunConfig, *stores: StoreName) -> tuple[str, ...]:
    """The shards of stores."""
    return shards_of(run, [group for store in stores for group in _groups(run, store)])


def shards_of(run: RunConfig, groups: Iterable[Group]) -> tuple[str, ...]:
    """The shards of groups, with {segment} and {block} in the place of numbers."""
    return tuple(
        below(run, group.shard_path(name, [_WILDCARDS.get(kind, "0") for kind in array.by or ("",) * len(array.shape)]))
        for group in groups
        for name, array in group.arrays.items()
    )


def of_all_blocks(run: RunConfig, paths: Iterable[str]) -> tuple[str, ...]:
    """The shards of all blocks, for a job that writes these."""
    return tuple(dict.fromkeys(path.format(segment="{segment}", block=block) for block in range(run.n_blocks) for path in paths))


def of_any_block(group: Group) -> Group:
    """The groups of all blocks as one: the names of their files do not depend on the synapses."""
    return replace(group, path=group.path.with_name("{block}"))


def _groups(run: RunConfig, store: StoreName) -> Iterator[Group]:
    """The groups of a store, those of all blocks as one."""
    yield layout(run, store)
    if store in BLOCK_STORES:
        yield of_any_block(block_layout(run, store, 0, 1))
    if store == "records" and run.simulation.record.synapses:
        yield recorded_synapses_layout(run, ANY_SYNAPSE)


def below(run: RunConfig, path: Path) -> str:
    return str(path.relative_to(root(run)))
