"""Expected size of a run before it is started: memory of each job, files, bytes on disk.

These are pure functions of the configuration. The rules take `mem_mb` from here, and so does `spikelens plan`,
so that the planned memory is the requested memory. The functions are called whenever the Snakefile is read,
also by each job, so only descriptions of stages (`<stage>/stage.py`, `<stage>/contents.py`) are imported, not
the code that computes results.

The memory of a job is estimated by its stage (`memory` in `<stage>/stage.py`), from its largest arrays.
tests/test_plan.py compares the estimate for the simulation with the measured peak of a process.
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
"""Requested memory relative to expected memory: a network may be more active than assumed."""
SNAKEMAKE_MB = 400
"""Memory of the two snakemake processes that run on the first node of a cluster job [MB]."""

COMPILED_BASE = 220 * _MB
"""Memory of a process after its imports, with compiled code and MPI [bytes]."""


# --- jobs --------------------------------------------------------------------------------------------------


def n_ranks(run: RunConfig, rule: Rule) -> int:
    """Number of MPI ranks of a job of a rule; each has its own core."""
    described = stage_module(stage_of(rule))
    return int(described.ranks(run, item_of(rule))) if hasattr(described, "ranks") else 1


# --- memory -------------------------------------------------------------------------------------------------------------


def memory_mb(run: RunConfig, rule: Rule) -> int:
    """Memory to request for one job of a rule [MB]: 1.25 x the expected memory + 400 MB for snakemake, at least 1,000 MB."""
    return max(_LEAST_MB, _hundreds(_HEADROOM * job_memory(run, rule) / _MB + SNAKEMAKE_MB))


def rank_memory_mb(run: RunConfig, rule: Rule) -> int:
    """Memory to request for each rank of a job on several nodes [MB].

    The ranks on the first node share it with snakemake. Without cluster.ranks_per_node, it may have only one rank.
    """
    together = min(run.cluster.ranks_per_node or 1, n_ranks(run, rule))
    return _hundreds(_HEADROOM * job_memory(run, rule) / n_ranks(run, rule) / _MB + SNAKEMAKE_MB / together)


def _hundreds(mb: float) -> int:
    return 100 * math.ceil(mb / 100)


def job_memory(run: RunConfig, rule: Rule, rate_hz: float = ASSUMED_RATE_HZ) -> float:
    """Expected peak memory of one job of a rule, as the sum over its ranks [bytes]."""
    return n_ranks(run, rule) * _rank_memory(run, rule, rate_hz)


def _rank_memory(run: RunConfig, rule: Rule, rate_hz: float) -> float:
    """Expected peak memory of one rank [bytes]."""
    return float(stage_module(stage_of(rule)).memory(run, item_of(rule), rate_hz))


# --- disk ---------------------------------------------------------------------------------------------------------------

BYTES_A_SPIKE = 2.5
"""Stored size of a spike in the raster [bytes]."""
_METADATA_BYTES = 2_000
_ITEM_BYTES = 200_000
"""Size of a figure or table of the report [bytes]."""


class Disk(NamedTuple):
    """Size of a finished run on disk."""

    n_shards: int
    n_files: int
    """Shards, metadata, flags, manifests, models, tables, figures, and a log and a benchmark per job."""
    bytes_of: dict[str, float]
    """Estimated bytes of each store, and of "features", "models", "explanation" and "report"."""


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
    # config.json, the registered configuration, the lock; report.html, summary.json and their copies; per job two flags, a manifest, a log,
    # a benchmark
    others = n_model_files + n_tables + n_figures + 3 + 4 * ("report" in stages) + 5 * n_jobs
    weights = {name: 4.0 * model.n_weights(run) * len(model.seeds) for name, model in models.items()}
    if "models" in stages:
        bytes_of["models"] = bytes_of.get("models", 0) + sum(weights.values())
    if "report" in stages:
        bytes_of["report"] = 2 * _ITEM_BYTES * n_figures
    return Disk(n_shards, n_shards + n_metadata + others, bytes_of)


def _groups(run: RunConfig, stages: Collection[Stage]) -> list[tuple[str, Group, int]]:
    """Groups of all stores, each with its number of copies: one group, with the mean number of synapses, represents all blocks."""
    roots: list[tuple[str, Group, int]] = [(store, layout(run, store), 1) for store in stores_of(run) if owner_of(run, store) in stages]
    if run.records and (pairs := run.simulation.record.synapses) and "simulation" in stages:  # assume one synapse per pair
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
    """Expected size of an array on disk, as a fraction of its size in memory; for spikes it depends on the rate."""
    return min(1.0, BYTES_A_SPIKE * rate_hz / 1000) if store == "spikes" else array.stored
