"""Names and files of all jobs of the workflow, for the rules and for `spikelens status`.

Each stage describes its jobs in `<stage>/stage.py` (`stages`). Paths are relative to the folder that all runs
of a configuration share (`places.root`). The Snakefile imports this module, and each job reads the Snakefile
again, so neither this module nor the descriptions import slow libraries such as xarray, numba or torch. The
module is not part of the code hash of a stage (`versions`), since it cannot change a result.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
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
"""Name of a rule: a stage, or a stage and an item, like "models.tft_neuron"."""

_WILDCARDS = {"segment": "{segment}", "block": "{block}", "seed": "{seed}"}


def stage_of(rule: Rule) -> Stage:
    """The stage of a rule."""
    return rule.partition(".")[0]  # type: ignore[return-value]


def item_of(rule: Rule) -> str:
    """The item of a rule; "" for a rule of a whole stage."""
    return rule.partition(".")[2]


class Jobs(NamedTuple):
    """The jobs of a stage or of one of its items, as described by the stage (`stages`)."""

    named: str
    """Template of the name of a job, with the fields {segment}, {block} and {seed}."""
    paths: tuple[str, ...]
    """Templates of the files of a job, with the same fields."""
    numbers: tuple[Mapping[str, int], ...]
    """Values of these fields for each job; {block} is the first of its blocks."""
    blocks: tuple[int, ...] = ()
    """First block of each job, followed by the total number of blocks; empty if a job has at most one block."""


@dataclass(frozen=True)
class Work:
    """The jobs that share a key, i.e. those of a stage or of one item: `Jobs` and the folder of their results."""

    rule: Rule
    folder: str
    """Folder of the results: `<stage>/<key>`, or `<stage>/<item>/<key>`."""
    named: str
    paths: tuple[str, ...]
    numbers: tuple[Mapping[str, int], ...]
    blocks: tuple[int, ...] = ()

    @property
    def stage(self) -> Stage:
        return stage_of(self.rule)

    @property
    def item(self) -> str:
        """The name of the item; "" for a whole stage."""
        return item_of(self.rule)

    @property
    def key(self) -> str:
        """The key of the results (`fingerprint`)."""
        return self.folder.rpartition("/")[2]

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        return tuple(Job(self, numbers) for numbers in self.numbers)


@dataclass(frozen=True)
class Job:
    """One job and its files."""

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
        """Name of the job, unique in its folder: "3" for a segment, "3-1" for a segment and block, "1" for a seed of a model."""
        return self.work.named.format(**self.numbers)

    @property
    def blocks(self) -> range:
        """The blocks of neurons that the job computes."""
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
        """The manifest of its files, which the job writes last (`manifests`)."""
        return f"{self.work.folder}/manifests/{self.name}.json"

    @property
    def made(self) -> str:
        """Flag file: an input of the jobs that read its results."""
        return f"{self.work.folder}/done/{self.name}.made"

    @property
    def whole(self) -> str:
        """Flag file: exists if all files of the job exist."""
        return f"{self.work.folder}/done/{self.name}.whole"

    @property
    def log(self) -> str:
        return f"{self.work.folder}/logs/{self.name}.log"

    @property
    def benchmark(self) -> str:
        return f"{self.work.folder}/benchmarks/{self.name}.tsv"


def work_of(run: RunConfig) -> Iterator[Work]:
    """The jobs of a run, in the order of the stages. Stages that its configuration does not allow are left out."""
    with remembered():
        found = [_work(run, stage, item) for stage, item in results_of(run)]
    yield from found


def needed_by(run: RunConfig, works: Iterable[Work], stages: Collection[Stage]) -> Iterator[str]:
    """Folders of the results of some stages of a run, and of all results that these depend on."""
    folders = {(work.stage, work.item): work.folder for work in works}
    pending, seen = [of for of in folders if of[0] in stages], set[tuple[Stage, str]]()
    while pending:
        if (of := pending.pop()) not in seen:
            seen.add(of)
            yield folders[of]
            pending += [(read.stage, read.item) for read in reads_of(run, *of)]


def _work(run: RunConfig, stage: Stage, item: str) -> Work:
    """The jobs of a stage or of one of its items."""
    rule = f"{stage}.{item}" if item else stage
    if (record := run.record) is not None:
        return Work(rule, **record[rule]["work"])
    return Work(rule, below(run, place_of(run, stage, item)), *stage_module(stage).jobs(run, item))


def record_of(run: RunConfig) -> dict[str, Any]:
    """What a run computes, by rule, for processes that do not execute its extensions (`config.extensions`)."""
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


def benchmarks_of(run: RunConfig) -> dict[Stage, list[Path]]:
    """Snakemake's benchmark files of all jobs of a run, by stage. A job that has not run has none yet."""
    found: dict[Stage, list[Path]] = {}
    for job in jobs_of(run):
        found.setdefault(job.stage, []).append(root(run) / job.benchmark)
    return found


def shards(run: RunConfig, *stores: StoreName) -> tuple[str, ...]:
    """Path templates of all shards of some stores."""
    return shards_of(run, [group for store in stores for group in _groups(run, store)])


def shards_of(run: RunConfig, groups: Iterable[Group]) -> tuple[str, ...]:
    """Path templates of all shards of some groups, with {segment} and {block} instead of numbers."""
    return tuple(
        below(run, group.shard_path(name, [_WILDCARDS.get(kind, "0") for kind in array.by or ("",) * len(array.shape)]))
        for group in groups
        for name, array in group.arrays.items()
    )


def of_all_blocks(run: RunConfig, paths: Iterable[str]) -> tuple[str, ...]:
    """The paths for all blocks, for a job that writes all of them; {segment} is not replaced."""
    return tuple(dict.fromkeys(path.format(segment="{segment}", block=block) for block in range(run.n_blocks) for path in paths))


def of_any_block(group: Group) -> Group:
    """One group for all blocks, with {block} in its path: file names do not depend on the synapses."""
    return replace(group, path=group.path.with_name("{block}"))


def _groups(run: RunConfig, store: StoreName) -> Iterator[Group]:
    """The groups of a store, with one group for all blocks (`of_any_block`)."""
    yield layout(run, store)
    if store in BLOCK_STORES:
        yield of_any_block(block_layout(run, store, 0, 1))
    if store == "records" and run.simulation.record.synapses:
        yield recorded_synapses_layout(run, ANY_SYNAPSE)


def below(run: RunConfig, path: Path) -> str:
    return str(path.relative_to(root(run)))
