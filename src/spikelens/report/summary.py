"""summary.json: the key numbers of each stage, readable without opening a store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig, Stage
from spikelens.explanation.contents import ASSOCIATIONS, SCORE_FIELDS, SCORES
from spikelens.explanation.scores import verdict
from spikelens.files import read_benchmark, read_json_rows, write_atomically
from spikelens.layouts import layout
from spikelens.numerics import UNITS_PER_MV
from spikelens.places import place_of
from spikelens.recording.wiring import built_synapses, weights_at
from spikelens.report import data, trains
from spikelens.report.contents import SUMMARY, figures_of
from spikelens.report.remarks import remarks
from spikelens.stores import read_shard

_FIRST_S = 10
"""Rates of this first period are listed separately, because STDP has hardly settled [s]."""


def facts_of(run: RunConfig, benchmarks: Mapping[Stage, Iterable[Path]] | None = None) -> dict[Stage, dict[str, Any]]:
    """The content of summary.json: for each stage its key numbers and the time of its jobs.

    `benchmarks`: the files of the jobs of each stage (`jobs.benchmarks_of`).
    """
    spikes = {"network": _network(run), "simulation": _simulation(run)} if run.has_network else {"recording": _recording(run)}
    stages: dict[Any, dict[str, Any]] = {
        **spikes,
        "features": _features(run),
        "models": _models(run),
        "explanation": _explanation(run),
        "report": {"figures": [shown.file for shown in figures_of(run)], "remarks": remarks(run)},
    }
    return {stage: {**facts, **_job_seconds((benchmarks or {}).get(stage, ()))} for stage, facts in stages.items()}


def write_summary(run: RunConfig, facts: Mapping[Stage, Mapping[str, Any]], report_seconds: float) -> None:
    """Write summary.json.

    The benchmark of the report is written only after it has finished. Its wall time so far is therefore
    passed as `report_seconds` [s].
    """
    report = {**facts["report"], "wall_seconds": round(report_seconds, 3), "jobs": 1}
    text = json.dumps({**facts, "report": report}, indent=2, allow_nan=False)
    write_atomically(place_of(run, "report") / SUMMARY, f"{text}\n".encode())


def _network(run: RunConfig) -> dict[str, Any]:
    by_class = np.zeros(len(run.edge_classes), np.int64)
    total_delay_ms = 0
    for block in range(run.n_blocks):
        built = built_synapses(run, block)
        by_class += np.bincount(data.edge_classes_of(run, built), minlength=len(by_class))
        total_delay_ms += int(built.delay.sum(dtype=np.int64))
    n_synapses = int(by_class.sum())
    return {
        "neurons": run.n_neurons,
        "neurons_by_population": run.population_sizes,
        "synapses": n_synapses,
        "synapses_by_edge_class": dict(zip(run.edge_classes, by_class.tolist(), strict=True)),
        "mean_in_degree": n_synapses / run.n_neurons,
        "mean_delay_ms": total_delay_ms / n_synapses if n_synapses else None,
    }


def _simulation(run: RunConfig) -> dict[str, Any]:
    return {**_spikes(run), "plastic_weights_at_end": _plastic_weights(run)}


def _recording(run: RunConfig) -> dict[str, Any]:
    return {"neurons": run.n_neurons, "neurons_by_population": run.population_sizes, **_spikes(run)}


def _spikes(run: RunConfig) -> dict[str, Any]:
    early_ms = min(_FIRST_S * STEPS_PER_SECOND, run.n_steps)
    spikes, early = _spike_counts(run, early_ms)
    return {
        "duration_s": run.duration_s,
        "segments": run.n_segments,
        "spikes": int(spikes.sum()),
        "rates_hz": _rates(run, spikes, run.n_steps),
        f"rates_first_{_FIRST_S}_s_hz": _rates(run, early, early_ms),
        "spike_trains": trains.facts(run),
    }


def _spike_counts(run: RunConfig, early_ms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Spikes of each neuron over the whole run and before `early_ms`, each (n_neurons,)."""
    group = layout(run, "spikes")
    spikes, early = np.zeros((2, run.n_neurons), np.int64)
    for segment in range(run.n_segments):
        rows = max(0, early_ms - run.segment_range(segment)[0])
        for block in range(run.n_blocks):
            own = slice(*run.block_range(block))
            shard = read_shard(group, "spikes", (segment, block))
            spikes[own] += shard.sum(axis=0, dtype=np.int64)
            early[own] += shard[:rows].sum(axis=0, dtype=np.int64)
    return spikes, early


def _rates(run: RunConfig, spikes: NDArray[np.int64], duration_ms: int) -> dict[str, float]:
    """Mean rate of all neurons and of each population [Hz]."""
    ranges = {"all": (0, run.n_neurons), **run.populations}
    return {name: float(spikes[first:end].mean()) / (duration_ms / STEPS_PER_SECOND) for name, (first, end) in ranges.items()}


def _plastic_weights(run: RunConfig) -> dict[str, Any]:
    """Distribution of the plastic weights at the end of the run: fractions; None without plastic synapses."""
    highest = round(run.network.weight_max_mv * UNITS_PER_MV)
    counts, total = np.zeros(4, np.int64), 0
    for block in range(run.n_blocks):
        weight = weights_at(run, block, run.n_segments - 1)[built_synapses(run, block).plastic]
        counts += [len(weight), (weight == highest).sum(), (weight == 0).sum(), (weight < UNITS_PER_MV).sum()]
        total += int(weight.sum(dtype=np.int64))
    n = int(counts[0])
    at_maximum, at_zero, below_1_mv = (int(count) / n if n else None for count in counts[1:])
    return {
        "synapses": n,
        "mean_mv": total / n / UNITS_PER_MV if n else None,
        "share_at_maximum": at_maximum,
        "share_at_zero": at_zero,
        "share_below_1_mv": below_1_mv,
    }


def _features(run: RunConfig) -> dict[str, Any]:
    """By feature: its kind and options."""
    return {name: feature.model_dump(mode="json") for name, feature in run.computed_features.items()}


def _models(run: RunConfig) -> dict[str, Any]:
    """By model and seed: epochs, wall time, and the test scores of the model and its baselines."""
    shown = ("kind", "epochs", "best_epoch", "n_weights", "ranges_ms", "scores", "baselines", "units", "wall_s")
    trained: dict[str, dict[str, Any]] = {}
    for name, seed in data.trained_models(run):
        facts = data.model_facts(run, name, seed)
        trained.setdefault(name, {})[str(seed)] = {key: facts[key] for key in shown if key in facts}
    return trained


def _explanation(run: RunConfig) -> dict[str, Any]:
    folder = place_of(run, "explanation")
    scores, associations = read_json_rows(folder / SCORES, SCORE_FIELDS), read_json_rows(folder / ASSOCIATIONS, {})
    return {"scores": scores, "associations": associations, "verdict": verdict(scores)}


def _job_seconds(files: Iterable[Path]) -> dict[str, Any]:
    """Wall and processor time [s] of the jobs with a benchmark file, summed, and their number; None without."""
    measured = [row for path in files for row in read_benchmark(path)]
    cpu = [row.cpu_s for row in measured if row.cpu_s is not None]
    return {
        "wall_seconds": round(sum(row.seconds for row in measured), 3) if measured else None,
        "cpu_seconds": round(sum(cpu), 3) if cpu else None,
        "jobs": len(measured) or None,
    }
