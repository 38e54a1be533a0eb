"""The explanation of a run: read the models and what they saw, score them against the wiring, write explanation.zarr and two lists.

scores.json says how well each score of a pair of neurons tells whether there is a synapse; associations.json how attention goes
with Omega, and each neuron's attention with its weights. Both name the seeds and the time range that a number comes from.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import MAX_DENSE_NEURONS, RunConfig
from spikelens.explanation.attention import aligned_correlation, correlation, mean_correlation, neuron_quantities
from spikelens.explanation.contents import ASSOCIATIONS, SCORES
from spikelens.explanation.controls import association, score_shuffled, similarity
from spikelens.explanation.scores import ALL, ATTENTION_SCORES, PLAIN, SHUFFLED, UNTRAINED, EdgeClass, edge_classes, score_class
from spikelens.explanation.wiring import (
    Floats,
    Ids,
    Range,
    Wiring,
    mean_weights,
    omega_windows,
    read_omega_dense,
    read_wiring,
    windows_range,
)
from spikelens.models.data import RateSeries, rate_series
from spikelens.models.load import load
from spikelens.models.tft import forecast
from spikelens.places import stage_folder
from spikelens.stores import Group, ensure, evenly_spaced, layout, write_atomically, write_shard

if TYPE_CHECKING:
    from spikelens.models.kinds.tft import Tft

log = logging.getLogger(__name__)

OMEGA_DENSE = "omega_dense"


@dataclass(frozen=True)
class Attended:
    """The model whose attention is explained, and the rates that it saw."""

    name: str
    model: Tft
    series: RateSeries

    @property
    def test(self) -> Range:
        """The test range [ms]."""
        first, end = self.series.ranges["test"]
        return first * self.model.bin_ms, end * self.model.bin_ms

    @property
    def whole(self) -> Range:
        """All samples [ms]."""
        return 0, len(self.series.values) * self.model.bin_ms

    def rate_correlation(self, time_range: Range) -> Floats:
        """Correlation between neurons of their rates in a range [ms]: what can be known without any model."""
        first, end = (bound // self.model.bin_ms for bound in time_range)
        return correlation([self.series.values[first:end].T])


def explain(run: RunConfig) -> None:
    """Make the whole explanation of a run whose models are trained."""
    started = time.monotonic()
    group = layout(run, "explanation")
    ensure(group)
    attended, attentions = None, []
    if run.attended is not None:
        model: Any = run.models[run.attended]
        attended = Attended(run.attended, model, rate_series(run, model))
        attentions = _attentions(run, attended)
        _write_attention(group, attended, attentions)
    scores, associations = _score(run, attended, attentions)
    _write_rows(run, SCORES, scores)
    _write_rows(run, ASSOCIATIONS, associations)
    log.info("explanation: %d scores, %d associations, %.1f s", len(scores), len(associations), time.monotonic() - started)


def _write(group: Group, array: str, values: NDArray[Any]) -> None:
    """Write an array that is one shard."""
    write_shard(group, array, (0,) * values.ndim, values.astype(np.float32))


def _write_rows(run: RunConfig, file: str, rows: list[dict[str, Any]]) -> None:
    """Write a list, one row a line; NaN is refused."""
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    write_atomically(stage_folder(run, "explanation") / file, f"[\n{lines}\n]\n".encode())


# --- what the models do -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """What one model attends to in the test range."""

    seed: int
    trained: bool
    mean: Floats
    """(neuron, decoder step, head, encoder step), over windows."""
    correlations: Mapping[str, Floats]
    """Scores of pairs, by name; empty for more neurons than dense matrices are kept for."""

    @property
    def suffix(self) -> str:
        return "" if self.trained else UNTRAINED


def _attentions(run: RunConfig, attended: Attended) -> list[Attention]:
    """Attention of the model with each of its seeds, trained and not, over evenly spaced test windows."""
    starts = attended.model.test_starts(run)
    starts = starts[evenly_spaced(len(starts), run.explanation.windows)]
    series, found = attended.series, []
    for seed in attended.model.seeds:
        for trained in (True, False):
            _, attention = forecast(load(run, attended.name, seed, trained=trained), series.values, starts)
            mean = attention.mean(0, dtype=np.float64)
            correlations = {}
            if len(series.names) <= MAX_DENSE_NEURONS:
                matrices = (mean_correlation(mean), aligned_correlation(attention))
                correlations = dict(zip(ATTENTION_SCORES, matrices, strict=True))
            found.append(Attention(seed, trained, mean, correlations))
    log.info("explanation: attention of %d neurons over %d windows", len(series.names), len(starts))
    return found


def _write_attention(group: Group, attended: Attended, attentions: list[Attention]) -> None:
    """Write every model's mean attention, and correlations between neurons: the first trained model's, and that of the rates."""
    _write(group, "attention", np.stack([attention.mean for attention in attentions if attention.trained]))
    _write(group, "attention_untrained", np.stack([attention.mean for attention in attentions if not attention.trained]))
    correlations = attentions[0].correlations
    if correlations:
        for name, matrix in {**correlations, PLAIN: attended.rate_correlation(attended.test)}.items():
            _write(group, name, matrix)


# --- scores -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairScore:
    """A score of pairs of neurons: a matrix [source, target], what it was computed from, and when."""

    name: str
    saw: str
    matrix: NDArray[Any]
    time_range: Range
    seed: Mapping[str, int]
    shuffled: bool = False
    """Whether it is scored against shuffled labels as well."""


def _seeds(run: RunConfig, model: int | None = None) -> dict[str, int]:
    seeds = {"network": run.network.seed, "drive": run.drive.seed}
    return seeds if model is None else {**seeds, "model": model}


def _score(run: RunConfig, attended: Attended | None, attentions: list[Attention]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of scores.json and associations.json; pairs are left out for more neurons than dense matrices are kept for."""
    associations = [] if attended is None else list(_neuron_associations(run, attended, attentions))
    neurons = np.arange(run.network.neurons) if attended is None else np.asarray(attended.series.names, np.int64)
    if len(neurons) > MAX_DENSE_NEURONS:
        log.info("explanation: pairs are not scored: more than %d neurons", MAX_DENSE_NEURONS)
        return [], associations
    wiring = read_wiring(run, neurons)
    members = {name: np.arange(*np.searchsorted(neurons, bounds), dtype=np.int64) for name, bounds in run.populations.items()}
    strata = run.explanation.strata_mv
    classes = edge_classes(wiring.synapse, wiring.weight, wiring.plastic, members, run.edge_classes, strata)
    scores: list[dict[str, Any]] = []
    for score in _pair_scores(run, attended, attentions, neurons, wiring):
        if score.name == OMEGA_DENSE:
            associations += _similarities(run, score, attentions, classes)
        for edges in classes:
            scores += _rows(run, score, edges)
    return scores, associations


def _pair_scores(
    run: RunConfig, attended: Attended | None, attentions: list[Attention], neurons: Ids, wiring: Wiring
) -> Iterator[PairScore]:
    """Every score of pairs, one matrix at a time."""
    test, whole = run.time_ranges(0)["test"], (0, run.n_steps)
    if attended is not None:
        test = attended.test
        for attention in attentions:
            for name, matrix in attention.correlations.items():
                yield PairScore(name + attention.suffix, "spikes", matrix, test, _seeds(run, attention.seed), shuffled=attention.trained)
        for time_range in (test, attended.whole):
            yield PairScore(PLAIN, "spikes", attended.rate_correlation(time_range), time_range, _seeds(run))
    for windows in (omega_windows(run, test), omega_windows(run, whole)) if run.features.omega_dense else ():
        if len(windows):
            matrix = read_omega_dense(run, neurons, windows)
            yield PairScore(OMEGA_DENSE, "spikes", matrix, windows_range(run, windows), _seeds(run))
    # an inhibitory synapse's component is negative: its size is what tells of a synapse
    yield PairScore("omega", "spikes, wiring and weights", np.abs(wiring.omega), whole, _seeds(run))
    yield PairScore("omega_unweighted", "spikes and wiring", wiring.omega_unweighted, whole, _seeds(run))


def _rows(run: RunConfig, score: PairScore, edges: EdgeClass) -> Iterator[dict[str, Any]]:
    """The rows of one score and edge class."""
    explanation = run.explanation
    matrix = edges.part(score.matrix)
    found = [(score.name, row) for row in score_class(matrix, edges, explanation.bootstraps, explanation.seed)]
    if score.shuffled:
        found += [(score.name + SHUFFLED, row) for row in score_shuffled(matrix, edges, explanation.shuffles, explanation.seed)]
    for name, row in found:
        head = {"score": name, "saw": score.saw, "edge_class": edges.name}
        yield {**head, **row, "seed": dict(score.seed), "time_range_ms": list(score.time_range)}


def _similarities(run: RunConfig, omega: PairScore, attentions: list[Attention], classes: Iterable[EdgeClass]) -> Iterator[dict[str, Any]]:
    """How each model's attention correlations go with Omega, over all candidate pairs of each edge class."""
    for attention in attentions:
        for name, matrix in attention.correlations.items():
            for edges in classes:
                row = similarity(edges.part(matrix)[edges.candidate], edges.part(omega.matrix)[edges.candidate])
                if row is not None:
                    head = {"score": name + attention.suffix, "against": omega.name, "population": edges.name}
                    yield {**head, **row, "seed": _seeds(run, attention.seed), "time_range_ms": list(omega.time_range)}


def _neuron_associations(run: RunConfig, attended: Attended, attentions: list[Attention]) -> Iterator[dict[str, Any]]:
    """How each neuron's attention goes with its mean in- and out-weight, for all neurons and each population."""
    series = attended.series
    neurons = np.asarray(series.names, np.int64)
    rate_hz = series.values[slice(*series.ranges["test"])].mean(0, dtype=np.float64)
    weights = {name: values[neurons] for name, values in mean_weights(run).items()}
    parts = {ALL: slice(None), **{name: slice(*np.searchsorted(neurons, bounds)) for name, bounds in run.populations.items()}}
    for attention in attentions:
        for name, quantity in neuron_quantities(attention.mean).items():
            for against, weight in weights.items():
                for population, part in parts.items():
                    row = association(quantity[part], weight[part], rate_hz[part])
                    if row is not None:
                        head = {"score": name + attention.suffix, "against": against, "population": population}
                        seed, time_range = _seeds(run, attention.seed), list(attended.test)
                        yield {**head, **row, "seed": seed, "time_range_ms": time_range}
