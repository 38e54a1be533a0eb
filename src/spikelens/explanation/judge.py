"""Second half of the explanation stage: compare the output of the methods with the wiring; write two tables.

scores.json: how well each score of pairs of neurons predicts synapses. associations.json: how attention
correlates with Omega, and each neuron's attention with its weights. Each row contains the seeds and the time
range of the data.
"""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from spikelens.config import RunConfig
from spikelens.explanation.contents import ASSOCIATIONS, OMEGA_DENSE, SCORES, SHUFFLED, is_attention
from spikelens.explanation.controls import association, score_shuffled, similarity
from spikelens.explanation.method import NeuronQuantity, PairScore
from spikelens.explanation.scores import ALL, EdgeClass, edge_classes, score_class
from spikelens.files import write_atomically
from spikelens.outputs import method_output
from spikelens.places import place_of
from spikelens.recording.wiring import Floats, Ids, mean_weights, read_wiring

log = logging.getLogger(__name__)


def judge(run: RunConfig) -> None:
    """Evaluate every method of a run; write scores.json and associations.json, both empty if the wiring is not known."""
    started, truth = time.monotonic(), Truth(run)
    scores: list[dict[str, Any]] = []
    associations: list[dict[str, Any]] = []
    attentions: list[tuple[str, PairScore]] = []
    omegas: list[tuple[str, PairScore]] = []
    for name, method in run.methods.items() if run.has_network else ():
        output = method_output(run, name)
        for score in method.scores(run, output):
            classes = truth.classes(score.neurons)
            scores += [{"method": name, **row} for edges in classes for row in _rows(run, score, edges)]
            if is_attention(score.name):
                attentions.append((name, score))
            if score.name == OMEGA_DENSE:
                omegas.append((name, score))
        for quantity in method.neuron_quantities(run, output):
            associations += [{"method": name, **row} for row in _neuron_associations(run, quantity, truth)]
    for (against, omega), (attended, attention) in itertools.product(omegas, attentions):
        found = _similarities(run, omega, attention, truth.classes(omega.neurons))
        associations += [{"method": attended, "against_method": against, **row} for row in found]
    _write_rows(run, SCORES, scores)
    _write_rows(run, ASSOCIATIONS, associations)
    log.info("explanation: %d scores, %d associations, %.1f s", len(scores), len(associations), time.monotonic() - started)


class Truth:
    """The true wiring, read on demand and cached."""

    def __init__(self, run: RunConfig) -> None:
        self._run = run
        self._classes: dict[bytes, list[EdgeClass]] = {}

    def classes(self, neurons: Ids) -> list[EdgeClass]:
        """The edge classes among the given neurons."""
        key = np.asarray(neurons, np.int64).tobytes()
        if key not in self._classes:
            wiring, run = read_wiring(self._run, neurons), self._run
            members = {name: np.arange(*np.searchsorted(neurons, bounds), dtype=np.int64) for name, bounds in run.populations.items()}
            strata = run.explanation.strata_mv
            self._classes[key] = edge_classes(wiring.synapse, wiring.weight, wiring.plastic, members, run.edge_classes, strata)
        return self._classes[key]

    @cached_property
    def mean_weights(self) -> dict[str, Floats]:
        """Each neuron's mean weight over its synapses [mV]."""
        return mean_weights(self._run)


def _write_rows(run: RunConfig, file: str, rows: list[dict[str, Any]]) -> None:
    """Write a table, one row per line; NaN raises ValueError."""
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows)
    write_atomically(place_of(run, "explanation") / file, f"[\n{lines}\n]\n".encode())


def _seeds(run: RunConfig, own: Mapping[str, int]) -> dict[str, int]:
    return {"network": run.network.seed, "drive": run.drive.seed, **own}


def _rows(run: RunConfig, score: PairScore, edges: EdgeClass) -> Iterator[dict[str, Any]]:
    """The rows of one score and edge class."""
    explanation = run.explanation
    matrix = edges.part(score.matrix)
    found = [(score.name, row) for row in score_class(matrix, edges, explanation.bootstraps, explanation.seed)]
    if score.shuffled:
        found += [(score.name + SHUFFLED, row) for row in score_shuffled(matrix, edges, explanation.shuffles, explanation.seed)]
    for name, row in found:
        head = {"score": name, "saw": score.saw, "edge_class": edges.name}
        yield {**head, **row, "seed": _seeds(run, score.seed), "time_range_ms": list(score.time_range)}


def _similarities(run: RunConfig, omega: PairScore, attention: PairScore, classes: list[EdgeClass]) -> Iterator[dict[str, Any]]:
    """Correlation of an attention score with Omega over all candidate pairs of each edge class."""
    if not np.array_equal(omega.neurons, attention.neurons):
        return
    for edges in classes:
        row = similarity(edges.part(attention.matrix)[edges.candidate], edges.part(omega.matrix)[edges.candidate])
        if row is not None:
            head = {"score": attention.name, "against": omega.name, "population": edges.name}
            yield {**head, **row, "seed": _seeds(run, attention.seed), "time_range_ms": list(omega.time_range)}


def _neuron_associations(run: RunConfig, quantity: NeuronQuantity, truth: Truth) -> Iterator[dict[str, Any]]:
    """Correlation of a quantity with mean in- and out-weight, for all neurons and for each population."""
    neurons = quantity.neurons
    parts = {ALL: slice(None), **{name: slice(*np.searchsorted(neurons, bounds)) for name, bounds in run.populations.items()}}
    for against, weights in truth.mean_weights.items():
        for population, part in parts.items():
            row = association(quantity.values[part], weights[neurons][part], quantity.rate_hz[part])
            if row is not None:
                head = {"score": quantity.name, "against": against, "population": population}
                yield {**head, **row, "seed": _seeds(run, quantity.seed), "time_range_ms": list(quantity.time_range)}
