"""What each job of the workflow writes: the one statement of it, which the rules declare and `spikelens status` looks for.

Paths lie below the folder that all runs of a configuration share (`places.root`). Those of a rule hold {segment}, {block} and {seed}
in the place of a job's numbers, as snakemake writes wildcards. The Snakefile imports this module whenever it is read, by each job
again: nothing that takes time is imported here. No stage imports it, since a stage's results would then seem to follow from it
(fingerprint.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from spikelens.config import MODEL_NAMES, STAGES, RunConfig, Stage
from spikelens.explanation.contents import TABLES
from spikelens.models.contents import MODEL_FILES
from spikelens.places import models_folder, root, stage_folder
from spikelens.report.contents import FIGURES, SUMMARY
from spikelens.stores import ANY_SYNAPSE, BLOCK_STORES, Group, StoreName, block_layout, layout, recorded_synapses_layout

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
    def manifest(self) -> str:
        """The list of its files that it writes last (`manifests`)."""
        return f"{self.folder}/manifests/{self.name}.json"

    @property
    def made(self) -> str:
        """The flag that jobs which read its results have as input."""
        return f"{self.folder}/done/{self.name}.made"

    @property
    def whole(self) -> str:
        """The flag that all its files are there."""
        return f"{self.folder}/done/{self.name}.whole"

    @property
    def log(self) -> str:
        return f"{self.folder}/logs/{self.name}.log"

    @property
    def benchmark(self) -> str:
        return f"{self.folder}/benchmarks/{self.name}.tsv"


def by_rule(run: RunConfig) -> Iterator[tuple[Job, list[Job]]]:
    """What the jobs of each rule write, and all these jobs."""
    blocks = range(run.n_blocks)
    folder = {stage: _below(run, stage_folder(run, stage)) for stage in STAGES if stage != "models"}
    network = Job("network", _shards(run, "network"), folder["network"])
    yield network, [network.of(block=block) for block in blocks]
    shards = _shards(run, "spikes", "state", "weights", "records")
    of_segment = tuple(dict.fromkeys(path.format(segment="{segment}", block=block) for block in blocks for path in shards))
    segments = range(run.n_segments)
    simulation = Job("simulation", of_segment, folder["simulation"])
    yield simulation, [simulation.of(segment=segment) for segment in segments]
    features = Job("features", _shards(run, "features"), folder["features"])
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


def job_of(run: RunConfig, rule: Rule, numbers: Mapping[str, int]) -> Job:
    """The job of a rule with these numbers."""
    return next(job for job, _ in by_rule(run) if job.rule == rule).of(**numbers)


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
