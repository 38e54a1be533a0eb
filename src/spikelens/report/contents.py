"""What the report of a run holds: its figures in the order in which a reader meets them, each with a caption.

Figures of a stage are listed here; those of an item its kind gives (`Model.figures`). The rules ask for the names of all files, so that
this module imports nothing that takes time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from spikelens.config import RunConfig, Stage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
SUMMARY = "summary.json"
"""Below the stage's folder."""


class Shown(NamedTuple):
    """One figure of the report."""

    name: str
    """Of its file, without the suffix."""
    title: str
    caption: str
    draw: Callable[[RunConfig], Figure]
    stage: Stage
    """The section it is shown in: the stage that made what it shows."""

    @property
    def file(self) -> str:
        return f"{self.name}.svg"


def drawn_by(module: str, function: str, *arguments: str) -> Callable[[RunConfig], Figure]:
    """A function that draws a figure; its module is imported when it is called."""

    def draw(run: RunConfig) -> Figure:
        figure: Figure = getattr(importlib.import_module(f"spikelens.report.{module}"), function)(run, *arguments)
        return figure

    return draw


def figures_of(run: RunConfig) -> tuple[Shown, ...]:
    """The figures of a run's report."""
    return tuple(_figures_of(run))


def _figures_of(run: RunConfig) -> Iterator[Shown]:
    if run.has_network:
        yield Shown("network", "Network", _NETWORK, drawn_by("activity", "network"), "network")
    yield Shown("raster_and_rates", "Raster and rates", _RASTER, drawn_by("activity", "raster_and_rates"), run.spikes_stage)
    if run.has_network:
        yield Shown("weights", "Weights", _WEIGHTS, drawn_by("activity", "weights"), "simulation")
    for name, feature in run.computed_features.items():
        yield from feature.figures(name)
    if any(model.learns for model in run.models.values()):
        yield Shown("learning", "Learning", _LEARNING, drawn_by("learned", "learning"), "models")
    for name, model in run.models.items():
        yield from model.figures(name)
    for name, method in run.methods.items():
        yield from method.figures(name)
    if run.has_network:
        yield Shown("scores", "Scores", _SCORES, drawn_by("explained", "scores"), "explanation")


_NETWORK = (
    "The network as it was built, and its weights at the end. Upper left: number of synapses onto a neuron, by population. "
    "Upper right: number of synapses by delay [ms], on a logarithmic scale, by class of edges. Below: share of the synapses "
    "of a class [%] by weight [mV], in bins of 0.25 mV or wider; black outlines are the start, filled bars the end of the "
    "run. Only plastic weights move, between 0 and their upper bound; inhibitory weights are negative and stay."
)
_RASTER = (
    "Top: each dot is a spike; time [s] from the run's start, one row a neuron, excitatory below, inhibitory above (at most "
    "1,000 neurons, evenly spaced). Middle: spikes per neuron and second [Hz] in a running window T_w, drawn at the "
    "window's middle, so that the line ends T_w / 2 before the run does. Bottom: the same over the whole run. A run begins "
    "with a transient: plasticity starts from equal weights and takes about a minute to settle. The dashed line marks where "
    "the data of the models begin."
)
_WEIGHTS = (
    "Share of the plastic synapses [%, logarithmic] by weight [mV], at the start and at the end of segments; from light to "
    "dark as time goes by (at most six times are shown). The rule is additive, so that weights run to one of their bounds, "
    "0 or the maximum; the share in the first and the last bin is most of what there is to see. Static weights are left "
    "out."
)
_LEARNING = (
    "Loss after each epoch on training and validation data, which come from separate ranges of time. The losses have no "
    "unit [1]: traces and rates are scaled by their standard deviation over the training range. Training losses include "
    "dropout and are means over an epoch in which the weights move, so that they may lie above the validation losses. "
    "Training ends when the validation loss has not become better for some epochs (patience); the weights of the best epoch "
    "are kept. With several seeds there are several lines."
)
_SCORES = (
    "How well each score tells pairs of neurons with a synapse from those without. AUROC [1] is the probability that a pair "
    "with a synapse scores higher; 0.5, dashed, is chance, below it connected pairs score lower. Bars are 95 % intervals: "
    "over resampled targets, or, for shuffled labels, over shuffles. Blue: correlation of the trained model's attention, "
    'averaged over windows or window by window ("aligned"). Orange: its controls, the same of an untrained model and with '
    "labels shuffled within populations. Green: what spikes tell without any model, correlation of rates and Ω of all pairs "
    'without weight and delay ("omega dense"). Open diamonds are circular: Ω with weight or delay is given the wiring, so '
    "that its score says nothing; where it lies beyond the axis it stands at the edge. Attention shows connectivity only "
    "where blue lies above orange, and is worth its cost only where it lies above green as well. Scores are of the test "
    'range unless they say "whole run". Below: synapses of one class of time-averaged weight [mV] against all pairs without '
    "a synapse; few synapses make long bars."
)
