"""Interface of this stage to the workflow: its job, its cost, and what its results depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelens.config import MAX_DENSE_NEURONS, RunConfig
from spikelens.config.items import Read
from spikelens.expected import expected
from spikelens.jobs import Jobs, below, numbered
from spikelens.keys import keyed
from spikelens.places import place_of
from spikelens.report.contents import COPIES, PAGE, SUMMARY, figures_of

if TYPE_CHECKING:
    from spikelens.speeds import Speeds

_FIGURES_BASE = 350e6
"""Memory of a process with matplotlib [bytes]."""


def reads(run: RunConfig, item: str) -> tuple[Read, ...]:
    spikes = (Read("network"), Read("simulation")) if run.has_network else (Read("recording"),)
    features = (Read("features", name) for name in run.computed_features)
    return (*spikes, *features, Read("explanation"), *(Read("models", name) for name in run.models))


def configured(run: RunConfig, item: str) -> dict[str, Any]:
    models = {name: model.seeds for name, model in run.models.items()}
    named = {"features": list(run.computed_features), "models": models}
    return {**keyed(run.report), "training": keyed(run.training), "duration_s": run.duration_s, **named}


def jobs(run: RunConfig, item: str) -> Jobs:
    place, files = below(run, place_of(run, "report")), (*(shown.file for shown in figures_of(run)), PAGE, SUMMARY, *COPIES)
    return Jobs("report", tuple(f"{place}/{file}" for file in files), numbered())


def memory(run: RunConfig, item: str, rate_hz: float) -> float:
    """Weights and causal components of all synapses, and of all pairs."""
    dense = 24 * run.n_neurons**2 if run.n_neurons <= MAX_DENSE_NEURONS else 0
    return float(_FIGURES_BASE + 32 * expected(run).all + dense)


def seconds(run: RunConfig, item: str, speeds: Speeds, rate_hz: float) -> float:
    return speeds.start_s + speeds.report_s
