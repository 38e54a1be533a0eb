"""How large a run is before it has begun: synapses, memory of each job, files, bytes on disk.

Pure functions of the configuration, and the one place that rules take their `mem_mb` from and `spikelens plan` its numbers, so that
what is planned is what is asked for. Called whenever the Snakefile is read, by each job again: no stage is imported here.

The simulation's memory follows from its arrays (simulation/synapses.py, run.py, state.py); that of the other stages from their
largest arrays, with what was measured on the reference run beside them. tests/test_plan.py holds the simulation's against a
process that runs it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from spikelens.config import (
    ASSUMED_RATE_HZ,
    STAGES,
    RunConfig,
    Stage,
)
from spikelens.expected import expected
from spikelens.explanation.contents import TABLES
from spikelens.jobs import Rule, item_of, stage_of, work_of
from spikelens.layouts import block_layout, block_stores, layout, owner_of, recorded_synapses_layout, stores_of
from spikelens.outputs import feature_block, feature_output, has_blocks, method_output, model_output
from spikelens.report.contents import figures_of
from spikelens.simulation.layout import RecordedSynapses
from spikelens.stages import stage_module
from spikelens.stores import Array, Group

_MB = 1_000_000
_LEAST_MB = 1_000
_HEADROOM = 1.25
"""What is asked for is this much more than what is expected: a network may be more active than assumed."""
SNAKEMAKE_MB = 400
"""Within a cluster's job, two processes of snakemake run beside the command, on its first node."""

COMPILED_BASE = 220 * _MB
"""A process after its imports, with compiled code and MPI."""


# --- jobs --------------------------------------------------------------------------------------------------


def n_ranks(run: RunConfig, rule: Rule) -> int:
    """MPI ranks of a job of a rule, each with its own core."""
    described = stage_module(stage_of(rule))
    return int(described.ranks(run, item_of(rule))) if hasattr(described, "ranks") else 1


# --- memory -------------------------------------------------------------------------------------------------------------


def memory_mb(run: RunConfig, rule: Rule) -> int:
    """Memory to ask for, for one job of a rule [MB]: what is expected and a quarter more, and snakemake; at least 1,000."""
    return max(_LEAST_MB, _hundreds(_HEADROOM * job_memory(run, rule) / _MB + SNAKEMAKE_MB))


def rank_memory_mb(run: RunConfig, rule: Rule) -> int:
    """The same for each rank of a job on several nodes [MB]: those on the first node have snakemake beside them, perhaps one rank alone."""
    together = min(run.cluster.ranks_per_node or 1, n_ranks(run, rule))
    return _hundreds(_HEADROOM * job_memory(run, rule) / n_ranks(run, rule) / _MB + SNAKEMAKE_MB / together)


def _hundreds(mb: float) -> int:
    return 100 * math.ceil(mb / 100)


def job_memory(run: RunConfig, rule: Rule, rate_hz: float = ASSUMED_RATE_HZ) -> float:
    """Memory that one job of a rule is expected to take at most [bytes]; its ranks together."""
    return n_ranks(run, rule) * _rank_memory(run, rule, rate_hz)


def _rank_memory(run: RunConfig, rule: Rule, rate_hz: float) -> float:
    """The same of one rank."""
    return float(stage_module(stage_of(rule)).memory(run, item_of(rule), rate_hz))


# --- disk ---------------------------------------------------------------------------------------------------------------

BYTES_A_SPIKE = 2.5
"""In the raster."""
_METADATA_BYTES = 2_000
_ITEM_BYTES = 200_000
"""A figure or table of the report."""


class Disk(NamedTuple):
    """What a finished run holds on disk."""

    n_shards: int
    n_files: int
    """Shards, metadata, flags, manifests, models, tables, figures, and a log and a benchmark of each job."""
    bytes_of: dict[str, float]
    """By store, and "models" and "report"; estimated."""


def disk(run: RunConfig, rate_hz: float = ASSUMED_RATE_HZ, stages: Collection[Stage] = STAGES) -> Disk:
    """Count the files of a run's stages from the layouts of its stores, and estimate their bytes."""
    n_shards = n_metadata = 0
    bytes_of: dict[str, float] = {}
    for store, group, times in _groups(run, stages):
        n_shards += times * sum(math.prod(array.grid) for array in group.arrays.values())
        n_metadata += times * group.n_metadata_files
        stored = sum(_stored(store, array, rate_hz) * _raw_bytes(array) for array in group.arrays.values())
        bytes_of[store] = bytes_of.get(store, 0) + times * (stored + _METADATA_BYTES * group.n_metadata_files)
    works = [work for work in work_of(run) if work.stage in stages]
    models = run.models if "models" in stages else {}
    n_tables, n_figures = len(TABLES) * ("explanation" in stages), len(figures_of(run)) if "report" in stages else 0
    n_jobs = sum(len(work.numbers) for work in works)
    n_model_files = sum(len(model.FILES) * len(model.seeds) for model in models.values())
    # the page, the summary, config.json, the registered configuration, the lock; of each job two flags, a manifest, a log, a benchmark
    others = n_model_files + n_tables + n_figures + 3 + 2 * ("report" in stages) + 5 * n_jobs
    weights = {name: 4.0 * model.n_weights(run) * len(model.seeds) for name, model in models.items()}
    if "models" in stages:
        bytes_of["models"] = bytes_of.get("models", 0) + sum(weights.values())
    if "report" in stages:
        bytes_of["report"] = 2 * _ITEM_BYTES * n_figures
    return Disk(n_shards, n_shards + n_metadata + others, bytes_of)


def _groups(run: RunConfig, stages: Collection[Stage]) -> list[tuple[str, Group, int]]:
    """Every group of every store, and how often there is one like it; a block's is laid out once, with the mean of their synapses."""
    roots: list[tuple[str, Group, int]] = [(store, layout(run, store), 1) for store in stores_of(run) if owner_of(run, store) in stages]
    if run.records and (pairs := run.simulation.record.synapses) and "simulation" in stages:  # as if each pair had one synapse
        source, target = np.array(pairs, np.int64).T
        roots.append(("records", recorded_synapses_layout(run, RecordedSynapses(source, target, np.ones(len(pairs), np.int64))), 1))
    n = round(expected(run).all / run.n_blocks)
    features = run.computed_features if "features" in stages else {}
    models = run.models if "models" in stages else {}
    roots += [("features", feature_output(run, name), 1) for name in features]
    roots += [("features", feature_block(run, name, 0, n), run.n_blocks) for name in features if has_blocks(run, name)]
    roots += [("models", model_output(run, name, "{seed}"), len(model.seeds)) for name, model in models.items()]
    roots += [("explanation", method_output(run, name), 1) for name in (run.methods if "explanation" in stages else ())]
    return roots + [(store, block_layout(run, store, 0, n), run.n_blocks) for store in block_stores(run) if owner_of(run, store) in stages]


def _raw_bytes(array: Array) -> int:
    return math.prod(array.shape) * np.dtype(array.dtype).itemsize


def _stored(store: str, array: Array, rate_hz: float) -> float:
    """Expected fraction of an array's bytes that remain on disk; of spikes, it depends on the rate."""
    return min(1.0, BYTES_A_SPIKE * rate_hz / 1000) if store == "spikes" else array.stored
