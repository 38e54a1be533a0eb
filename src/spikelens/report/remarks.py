"""Warnings above the figures of the report: missing data, and results that are probably not intended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.recording.spikes import population_counts
from spikelens.recording.wiring import built_synapses
from spikelens.report import data

NO_SYNAPSE = "the network has no synapses"


def remarks(run: RunConfig) -> list[str]:
    """Warnings about a run that is silent, unconnected or fully connected, or whose weights are 0."""
    return [*_of_synapses(run), *_of_spikes(run)]


def _of_synapses(run: RunConfig) -> Iterator[str]:
    if not run.has_network:
        yield "the wiring is not known: no score is compared with it"
        return
    of_class, zero = np.zeros(len(run.edge_classes), np.int64), 0
    for block in range(run.n_blocks):
        built = built_synapses(run, block)
        of_class += np.bincount(data.edge_classes_of(run, built), minlength=len(of_class))
        zero += int(np.count_nonzero(built.weight == 0))
    n = int(of_class.sum())
    if not n:
        yield f"{NO_SYNAPSE}, so that connectivity cannot be scored"
        return
    if zero > n / 2:
        yield f"{zero:,} of {n:,} synapses have an initial weight of 0 mV"
    scored = {row["edge_class"] for row in data.connectivity_scores(run)}
    for edge_class in (name for name, count in zip(run.edge_classes, of_class, strict=True) if count and name not in scored):
        yield f"{edge_class} has no score: either all of the scored pairs have a synapse, or none"


def _of_spikes(run: RunConfig) -> Iterator[str]:
    spikes = population_counts(run, STEPS_PER_SECOND).sum(axis=0)
    if not spikes.any():
        yield "no neuron spikes: rates, forecasts and scores are meaningless"
        return
    for name, count in zip(run.populations, spikes, strict=True):
        if not count:
            yield f"no neuron of {name} spikes"
