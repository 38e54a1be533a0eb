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
from typing import Any, NamedTuple

import numpy as np

from spikelens.config import (
    ASSUMED_RATE_HZ,
    MAX_DENSE_NEURONS,
    STAGES,
    RunConfig,
    Stage,
)
from spikelens.expected import expected
from spikelens.explanation.contents import TABLES
from spikelens.jobs import Rule, item_of, stage_of, work_of
from spikelens.report.contents import figures_of
from spikelens.stores import (
    OWNER,
    Array,
    Group,
    RecordedSynapses,
    block_layout,
    block_stores,
    feature_block,
    feature_output,
    has_blocks,
    layout,
    max_delay,
    method_output,
    model_output,
    owner_of,
    recorded_synapses_layout,
    stores_of,
)
from spikelens.tables import n_rows

_MB = 1_000_000
_LEAST_MB = 1_000
_HEADROOM = 1.25
"""What is asked for is this much more than what is expected: a network may be more active than assumed."""
SNAKEMAKE_MB = 400
"""Within a cluster's job, two processes of snakemake run beside the command, on its first node."""

_COMPILED_BASE = 220 * _MB
"""A process after its imports, with compiled code and MPI."""
_FIGURES_BASE = 350 * _MB


# --- jobs --------------------------------------------------------------------------------------------------


def n_ranks(run: RunConfig, rule: Rule) -> int:
    """MPI ranks of a job of a rule, each with a core of its own."""
    if rule == "simulation":
        return run.simulation.ranks
    return run.models[item_of(rule)].n_ranks if stage_of(rule) == "models" else 1


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
    """The same of one rank; those that train hold all the data, and their part of a batch."""
    match rule:
        case "network":
            return network_memory(run)
        case "simulation":
            return simulation_memory(run, run.simulation.ranks, rate_hz)
        case "recording":
            return recording_memory(run)
        case "explanation":
            return explanation_memory(run)
        case "report":
            return report_memory(run)
    item: Any = run.items(stage_of(rule))[item_of(rule)]
    return float(item.memory(run, rate_hz) if stage_of(rule) == "features" else item.memory(run))


def network_memory(run: RunConfig) -> float:
    """A block's synapses as drawn (5 bytes each) and as placed (14), the shard in its codec; of a table all rows, and their order."""
    table = 80.0 * n_rows(run.network.edges) if run.network.edges is not None else 0.0
    return float(_COMPILED_BASE + table + 40 * expected(run).of_block.max())


def simulation_memory(run: RunConfig, ranks: int, rate_hz: float = ASSUMED_RATE_HZ) -> float:
    """Memory of the rank that needs most, during one segment [bytes].

    Terms are added up also where they do not stand at one time: freed parts below malloc's threshold stay with the process.
    """
    synapses = expected(run)
    n, blocks = run.network.neurons, -(-run.n_blocks // ranks)
    own_neurons = min(blocks * run.network.block_size, n)
    own = max(synapses.of_block[rank::ranks].sum() for rank in range(ranks))
    plastic_share = synapses.plastic / max(synapses.all, 1)
    block = synapses.of_block.max()
    averaged = 8 * run.weight_average
    held = own * (plastic_share * (12 + averaged) + (1 - plastic_share) * 8)
    # first_synapse of both kinds (and as counted, while loading), last spikes, the second's sources; recent spikes as stored, dense
    of_network = n * (32 + 8 + 60 + max_delay(run))
    of_own_neurons = own_neurons * 64  # state, inputs, largest inputs, flights
    spikes_hz = rate_hz * (4 * own_neurons * run.simulation.segment_s + 40 * n)  # the segment's own; the second's, of all, being sorted
    loading = 40 * block  # columns in the order of storage, 18 bytes each, and a shard in its codec
    shard_spikes = rate_hz * run.simulation.segment_s * min(run.network.block_size, n)
    raster = 2 * _BYTES_A_SPIKE * shard_spikes + 2 * run.simulation.chunk_ms * run.simulation.chunk_neurons  # dense only by the chunk
    record = run.simulation.record
    recorded = 3 * (8 * len(record.neurons) + 4 * len(record.synapses)) * run.segment_steps / record.every_ms  # kept, gathered, joined
    way_back = max(own / 8, block) * (8 + averaged) + block * 1.5 * averaged
    return float(_COMPILED_BASE + held + of_network + of_own_neurons + spikes_hz + loading + raster + recorded + way_back)


def recording_memory(run: RunConfig) -> float:
    """The whole table and its columns, and the raster of a block while it is counted."""
    assert run.recording is not None
    return float(_COMPILED_BASE + 80 * n_rows(run.recording.file) + 10 * run.segment_steps * min(run.block_size, run.n_neurons))


def explanation_memory(run: RunConfig) -> float:
    """Matrices of all pairs: a score, classes of edges and shuffled labels."""
    return float(_COMPILED_BASE + 128 * min(run.n_neurons, MAX_DENSE_NEURONS) ** 2 + 40 * expected(run).of_block.max())


def report_memory(run: RunConfig) -> float:
    """Weights and causal components of all synapses, and of all pairs."""
    dense = 24 * run.n_neurons**2 if run.n_neurons <= MAX_DENSE_NEURONS else 0
    return float(_FIGURES_BASE + 32 * expected(run).all + dense)


# --- disk ---------------------------------------------------------------------------------------------------------------

_STORED_SHARE = {
    "source": 0.4,
    "target": 0.01,
    "delay": 0.5,
    "plastic": 0.03,
    "weight": 0.4,
    "weight_change": 0.55,
    "weight_average": 0.7,
    "recent_spikes": 0.02,
    "last_spike": 0.3,
    "v": 0.9,
    "u": 0.9,
}
"""What is left of an array by its codec; measured on the reference run, and sources on networks of up to 100,000 neurons."""
_EQUAL_WEIGHTS_SHARE = 0.01
"""Of weights at the start, where each connection has one for all."""
_FLOATS_SHARE = 0.85
"""Of weights at the start that differ."""
_BYTES_A_SPIKE = 2.5
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
        stored = sum(_stored_share(run, store, name, array, rate_hz) * _raw_bytes(array) for name, array in group.arrays.items())
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


def _stored_share(run: RunConfig, store: str, name: str, array: Array, rate_hz: float) -> float:
    """What is about left of an array by its codec."""
    match store, name:
        case "spikes", "spikes":
            return min(1.0, _BYTES_A_SPIKE * rate_hz / 1000)
        case "network", "weight":
            equal = run.network.edges is None and all(isinstance(c.weight_mv, float) for c in run.network.connections.values())
            return _EQUAL_WEIGHTS_SHARE if equal else _FLOATS_SHARE
    return _STORED_SHARE.get(name, array.stored) if store in OWNER else array.stored
