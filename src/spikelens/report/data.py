"""Data for the figures and the summary, read from a run's stores one block or shard at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.explanation.contents import ASSOCIATIONS, ATTENTION_SCORES, SCORE_FIELDS, SCORES, SHUFFLED, UNTRAINED
from spikelens.features.rates import window_counts
from spikelens.files import NUMBER, Fields, read_json, read_json_lines, read_json_rows
from spikelens.models.model import DESCRIPTION, HISTORY
from spikelens.numerics import UNITS_PER_MV
from spikelens.outputs import feature_block, feature_output, method_output, model_output
from spikelens.places import model_folder, place_of
from spikelens.recording.spikes import population_counts
from spikelens.recording.synapses import Synapses
from spikelens.recording.wiring import built_synapses, weights_at
from spikelens.stores import open_group, read_array, read_shard

_MODEL_FIELDS: Fields = {
    "n_weights": int,
    **dict.fromkeys(("options", "ranges_ms", "scaling", "scores", "baselines", "units"), dict),
    "wall_s": NUMBER,
}
_HISTORY_FIELDS: Fields = {"epoch": int, "train_loss": NUMBER, "validation_loss": NUMBER}
_BIN_MV = 0.25
_MAX_BINS = 120
_RATE_STEP_MS = 10


def edge_classes_of(run: RunConfig, synapses: Synapses) -> NDArray[np.int64]:
    """Index of each synapse's edge class in `run.edge_classes`, (n_synapses,)."""
    ranges = run.populations
    ends = [end for _, end in ranges.values()]
    table = np.full((len(ends), len(ends)), -1)
    names = list(ranges)
    for i, edge_class in enumerate(run.edge_classes):
        a, b = edge_class.split("->")
        table[names.index(a), names.index(b)] = i
    return np.asarray(table[np.searchsorted(ends, synapses.source, side="right"), np.searchsorted(ends, synapses.target, side="right")])


@dataclass(frozen=True)
class WeightHistograms:
    """Synapses by weight: at the start (boundary 0) and at each segment's end."""

    edges_mv: NDArray[np.float64]
    counts: NDArray[np.int64]
    """(n_segments + 1, n_edge_classes, 2, n_bins); the third axis is static, plastic."""


def weight_histograms(run: RunConfig) -> WeightHistograms:
    """Count synapses by weight, block by block."""
    edges = _weight_bins(run)
    shape = (run.n_segments + 1, len(run.edge_classes), 2, len(edges) - 1)
    counts = np.zeros(shape, np.int64)
    for block in range(run.n_blocks):
        built = built_synapses(run, block)
        group = edge_classes_of(run, built) * 2 + built.plastic
        for boundary in range(-1, run.n_segments):
            weight_mv = weights_at(run, block, boundary) / UNITS_PER_MV
            place = np.clip(np.searchsorted(edges, weight_mv, side="right") - 1, 0, len(edges) - 2)
            counts[boundary + 1] += np.bincount(group * shape[3] + place, minlength=counts[0].size).reshape(shape[1:])
    return WeightHistograms(edges, counts)


def _weight_bins(run: RunConfig) -> NDArray[np.float64]:
    """Bin edges [mV] from the lowest weight, or 0, to the highest possible weight; 0 and the highest weight are edges."""
    weights = [built_synapses(run, block).weight for block in range(run.n_blocks)]
    low = min(0.0, *(float(block.min(initial=0)) / UNITS_PER_MV for block in weights))
    high = max(run.network.weight_max_mv, *(float(block.max(initial=0)) / UNITS_PER_MV for block in weights))
    width = max(_BIN_MV, (high - low) / _MAX_BINS)
    below, above = int(np.ceil(-low / width)), int(np.ceil(high / width))
    return np.concatenate([-width * np.arange(below, 0, -1), np.linspace(0, high, above + 1)])


def weight_matrix(run: RunConfig, ids: NDArray[np.int64], boundary: int) -> NDArray[np.float32]:
    """Weights [mV] among the given neurons, (source, target), summed over the synapses of a pair; NaN without a synapse."""
    place = np.full(run.n_neurons, -1)
    place[ids] = np.arange(len(ids))
    matrix = np.zeros((len(ids), len(ids)), np.float32)
    connected = np.zeros(matrix.shape, np.bool_)
    for block in range(run.n_blocks):
        built, weight = built_synapses(run, block), weights_at(run, block, boundary)
        source, target = place[built.source], place[built.target]
        shown = (source >= 0) & (target >= 0)
        np.add.at(matrix, (source[shown], target[shown]), weight[shown] / UNITS_PER_MV)
        connected[source[shown], target[shown]] = True
    matrix[~connected] = np.nan
    return matrix


def rate_step_ms(run: RunConfig) -> int:
    """Sampling interval of the running rates in the figures [ms]."""
    return math.gcd(_RATE_STEP_MS, run.report.window_ms)


def running_rates(run: RunConfig) -> NDArray[np.float64]:
    """Rate of "all" and of each population [Hz] over the T_w after each sample, (n_samples, 1 + n_populations)."""
    step_ms, window_ms = rate_step_ms(run), run.report.window_ms
    counts = population_counts(run, step_ms)
    windows = window_counts(counts, window_ms // step_ms)
    total = np.full(counts.shape, np.nan)
    total[: len(windows)] = windows
    sizes = np.array(list(run.population_sizes.values()))
    spikes = np.column_stack([total.sum(axis=1), total])
    return np.asarray(spikes / np.array([sizes.sum(), *sizes]) / (window_ms / STEPS_PER_SECOND))


def omega_of_all_pairs(run: RunConfig, feature: str) -> NDArray[np.float32]:
    """Causal components over the whole run of all pairs, without weight, delay 0; (source, target)."""
    group = feature_output(run, feature)
    n = run.n_neurons
    total = np.zeros((n, n), np.float32)
    spec = group.arrays["omega"]
    for index in spec.indices():
        total[:, spec.region(index)[2]] += read_shard(group, "omega", index).sum(axis=0)
    return total


def mean_omega_by_class(run: RunConfig, feature: str) -> NDArray[np.float64] | None:
    """Mean causal component of a synapse, with weight and delay, [mV] by window and edge class, (n_windows, n_edge_classes).

    NaN for an edge class without synapses; None if the network has no synapses.
    """
    n_classes = len(run.edge_classes)
    sums, counts = None, np.zeros(n_classes)
    for block in range(run.n_blocks):
        edge_class = edge_classes_of(run, built_synapses(run, block))
        if not len(edge_class):
            continue
        omega = read_array(feature_block(run, feature, block), "omega")
        of_block = np.array([np.bincount(edge_class, weights=window, minlength=n_classes) for window in omega])
        sums = of_block if sums is None else sums + of_block
        counts += np.bincount(edge_class, minlength=n_classes)
    return None if sums is None else np.asarray(sums / np.where(counts, counts, np.nan))


def output(run: RunConfig, name: str) -> xr.Dataset:
    """Output of a model, with its first seed, on the test range; loaded lazily."""
    return open_group(model_output(run, name, run.models[name].seeds[0]))


def computed(run: RunConfig, name: str) -> xr.Dataset:
    """Output of a method of the explanation; loaded lazily."""
    return open_group(method_output(run, name))


def training_history(run: RunConfig, model: str, seed: int) -> list[dict[str, Any]]:
    """One entry per epoch of a training run."""
    return read_json_lines(model_folder(run, model, seed) / HISTORY, _HISTORY_FIELDS)


def model_facts(run: RunConfig, model: str, seed: int) -> dict[str, Any]:
    """Content of model.json: options, time ranges, scores, baselines."""
    return read_json(model_folder(run, model, seed) / DESCRIPTION, _MODEL_FIELDS)


def trained_models(run: RunConfig) -> Iterator[tuple[str, int]]:
    """Name and seed of every model."""
    return ((name, seed) for name, model in run.models.items() for seed in model.seeds)


def connectivity_scores(run: RunConfig) -> list[dict[str, Any]]:
    """The rows of scores.json, controls after their score, each with `shown`: its name in the report."""
    rows = read_json_rows(place_of(run, "explanation") / SCORES, SCORE_FIELDS)
    bases = list(dict.fromkeys(_base(row) for row in rows))
    several = {score for score in {row["score"] for row in rows} if len({row["method"] for row in rows if row["score"] == score}) > 1}
    named = [{**row, "shown": _shown_name(run, row, row["score"] in several)} for row in rows]
    return sorted(named, key=lambda row: bases.index(_base(row)))


def associations(run: RunConfig) -> list[dict[str, Any]]:
    """The rows of associations.json."""
    return read_json_rows(place_of(run, "explanation") / ASSOCIATIONS, {})


def _base(row: dict[str, Any]) -> tuple[str, str]:
    """Method and score of a row; a control has those of its score."""
    return row["method"], row["score"].split(",")[0]


def _shown_name(run: RunConfig, row: dict[str, Any], several: bool) -> str:
    """The name of a score, with its method if several methods have it, and with "whole run" if that is its time range."""
    whole = row["time_range_ms"] == [0, run.n_steps]
    name = str(row["score"]).replace("_", " ")
    return name + (f" ({row['method']})" if several else "") + (", whole run" if whole else "")


def kind_of_score(row: dict[str, Any]) -> str:
    """Kind of a score: "attention" (trained), "control", "no model" (from the spikes), or "circular" (uses the wiring)."""
    if "wiring" in row["saw"]:
        return "circular"
    if row["score"].endswith((UNTRAINED, SHUFFLED)):
        return "control"
    return "attention" if row["score"].startswith(ATTENTION_SCORES) else "no model"
