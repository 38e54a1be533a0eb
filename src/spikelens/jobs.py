"""What each job of the workflow writes: the one statement of it, which the rules declare and `spikelens status` looks for.

Paths lie below the run's folder. Those of a rule hold {segment}, {block} and {seed} in the place of a job's numbers, as snakemake
writes wildcards. The Snakefile imports this module whenever it is read, by each job again: nothing that takes time is imported here.
No stage imports it, since a stage's results would then seem to follow from it (fingerprint.py).
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from spikelens.config import MODEL_NAMES, STAGES, RunConfig, Stage
from spikelens.explanation.contents import TABLES
from spikelens.models.contents import MODEL_FILES
from spikelens.places import models_folder, stage_folder
from spikelens.report.contents import FIGURES, SUMMARY
from spikelens.stores import ANY_SYNAPSE, BLOCK_STORES, Group, StoreName, block_layout, layout, recorded_synapses_layout, stamp_folder

Rule = str
"""A stage, and for models also which: "models_tft_neuron"."""

_NAMES: dict[Rule, str] = {
    "network": "{block}",
    "simulation": "{segment}",
    "features": "{segment}-{block}",
    **{f"models_{name}": f"{name}-{{seed}}" for name in MODEL_NAMES},
    "explanation": "explanation",
    "report": "report",
}
RULES: tuple[Rule, ...] = tuple(_NAMES)

_WILDCARDS = {"segment": "{segment}", "block": "{block}", "seed": "{seed}"}


def stage_of(rule: Rule) -> Stage:
    """The stage that a rule belongs to."""
    return "models" if rule.startswith("models_") else rule  # type: ignore[return-value]


@dataclass(frozen=True)
class Job:
    """What a job writes; without numbers of its own, what each job of its rule does, with wildcards in their place."""

    rule: Rule
    paths: tuple[str, ...] = ()
    """Its files, with wildcards."""
    folder: str = ""
    """Where its results are kept: `<stage>/<key>`, for models `models/<name>/<key>`."""
    stamps: str | None = None
    """Where its stamp lies."""
    numbers: Mapping[str, int | str] = field(default_factory=lambda: _WILDCARDS)

    def of(self, **numbers: int | str) -> Job:
        """The job of these numbers."""
        return replace(self, numbers=numbers)

    @property
    def stage(self) -> Stage:
        return stage_of(self.rule)

    @property
    def name(self) -> str:
        """Of its log: "3" for a segment, "3-1" for a segment and block, "tft_neuron-1" for a model and seed."""
        return _NAMES[self.rule].format(**self.numbers)

    @property
    def files(self) -> list[str]:
        return [path.format(**self.numbers) for path in self.paths]

    @property
    def stamp(self) -> str | None:
        """An empty file that it leaves once its shards are there."""
        return None if self.stamps is None else f"{self.stamps}/{self.name}"

    @property
    def log(self) -> str:
        return f"logs/{self.stage}/{self.name}.log"

    @property
    def benchmark(self) -> str:
        return f"{self.folder}/benchmarks/{self.name}.tsv"


def by_rule(run: RunConfig) -> Iterator[tuple[Job, list[Job]]]:
    """What the jobs of each rule write, and all these jobs."""
    blocks = range(run.n_blocks)
    folder = {stage: _below(run, stage_folder(run, stage)) for stage in STAGES if stage != "models"}
    network = Job("network", _shards(run, "network"), folder["network"], _below(run, stamp_folder(run, "network")))
    yield network, [network.of(block=block) for block in blocks]
    shards = _shards(run, "spikes", "state", "weights", "records")
    of_segment = tuple(dict.fromkeys(path.format(segment="{segment}", block=block) for block in blocks for path in shards))
    segments = range(run.n_segments)
    simulation = Job("simulation", of_segment, folder["simulation"], _below(run, stamp_folder(run, "simulation")))
    yield simulation, [simulation.of(segment=segment) for segment in segments]
    features = Job("features", _shards(run, "features"), folder["features"], _below(run, stamp_folder(run, "features")))
    yield features, [features.of(segment=segment, block=block) for segment in segments for block in blocks]
    for name in MODEL_NAMES:
        models = _below(run, models_folder(run, name))
        model = Job(f"models_{name}", tuple(f"{models}/{{seed}}/{file}" for file in MODEL_FILES), models)
        yield model, [model.of(seed=seed) for seed in getattr(run.models, name).seeds]
    tables = tuple(f"{folder['explanation']}/{file}" for file in TABLES)
    explanation = Job("explanation", (*_shards(run, "explanation"), *tables), folder["explanation"])
    yield explanation, [explanation.of()]
    items = tuple(f"{folder['report']}/{file}" for file in (*(item.file for item in FIGURES), SUMMARY))
    report = Job("report", items, folder["report"])
    yield report, [report.of()]


def jobs_of(run: RunConfig) -> Iterator[Job]:
    """Every job of a run."""
    return itertools.chain.from_iterable(jobs for _, jobs in by_rule(run))


def wanted_files(run: RunConfig) -> list[str]:
    """What a finished run has; of shards those that were lost, since there may be very many, and a job not done makes them anyway."""
    listed = functools.cache(lambda folder: frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset())

    def is_there(path: str) -> bool:
        folder, name = os.path.split(f"{run.path}/{path}")
        return name in listed(folder)

    jobs = list(jobs_of(run))
    stamps = [job.stamp for job in jobs if job.stamp]
    lost = [path for job in jobs if job.stamp and is_there(job.stamp) for path in job.files if not is_there(path)]
    return stamps + lost + [path for job in jobs if not job.stamp for path in job.files]


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
    return str(path.relative_to(run.folder))
