"""Contents of the report: its figures in order, each with a caption.

Figures of stages are listed here. Figures of items are defined by their kinds (e.g. `Model.figures`). The workflow declares the names of
all files, so this module avoids slow imports.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from spikelens.config import RunConfig, Stage
from spikelens.errors import SpikelensError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
SUMMARY = "summary.json"
"""Names of files in the folder of the stage."""
COPIES = (f"embedded/{PAGE}", f"embedded/{SUMMARY}")
"""Copies of the two for snakemake's own report. Snakemake deletes the files that it embeds when their job starts again."""
HEADLINE = "headline"
"""The figure of the first screen."""


class Shown(NamedTuple):
    """One figure of the report."""

    name: str
    """Name of its file, without the suffix."""
    title: str
    caption: str
    draw: Callable[[RunConfig], Figure]
    stage: Stage
    """Section of the page: the stage that computed what it shows."""
    of_network: bool = False
    """Whether it is left out if the wiring is not known; for figures of methods."""

    @property
    def file(self) -> str:
        return f"{self.name}.svg"


def drawn_by(module: str, function: str, *arguments: str) -> Callable[[RunConfig], Figure]:
    """A function that draws a figure; it imports its module only when it is called."""

    def draw(run: RunConfig) -> Figure:
        figure: Figure = getattr(importlib.import_module(f"spikelens.report.{module}"), function)(run, *arguments)
        return figure

    return draw


def figures_of(run: RunConfig) -> tuple[Shown, ...]:
    """The figures of a run's report.

    Raises
    ------
    SpikelensError
        If two figures have the same name: one would overwrite the file of the other.
    """
    figures = tuple(_figures_of(run))
    names = [shown.name for shown in figures]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpikelensError(f"two figures of the report have the name {twice!r}; rename an item, or the figure of an extension")
    return figures


def _figures_of(run: RunConfig) -> Iterator[Shown]:
    scored = run.has_network and bool(run.methods)
    caption, drawing = (_HEADLINE, drawn_by("explained", "headline")) if scored else (_RATES, drawn_by("activity", "rates_over_time"))
    yield Shown(HEADLINE, "Headline", caption, drawing, "report")
    if run.has_network:
        yield Shown("network", "Network", _NETWORK, drawn_by("activity", "network"), "network")
    raster = _RASTER + _TRANSIENT if run.has_network and run.simulation.plasticity else _RASTER
    yield Shown("raster_and_rates", "Raster and rates", raster, drawn_by("activity", "raster_and_rates"), run.spikes_stage)
    yield Shown("binary_rates", "Binary rates", _BINARY, drawn_by("activity", "binary_rates"), run.spikes_stage)
    for name, title, caption in (("irregularity", "Irregularity", _IRREGULARITY), ("synchrony", "Synchrony", _SYNCHRONY)):
        yield Shown(name, title, caption, drawn_by("trains", name), run.spikes_stage)
    pairs = _CONNECTED_PAIRS if run.has_network else _CORRELATED_PAIRS
    yield Shown("cross_correlograms", "Cross-correlograms", pairs + _LAGS, drawn_by("trains", "cross_correlograms"), run.spikes_stage)
    if run.has_network:
        yield Shown("weights", "Weights", _WEIGHTS, drawn_by("activity", "weights"), "simulation")
    for name, feature in run.computed_features.items():
        yield from feature.figures(name)
    if any(model.learns for model in run.models.values()):
        yield Shown("learning", "Learning", _LEARNING, drawn_by("learned", "learning"), "models")
    for name, model in run.models.items():
        yield from model.figures(name)
    for name, method in run.methods.items():
        yield from (shown for shown in method.figures(name) if run.has_network or not shown.of_network)
    if run.has_network:
        yield Shown("scores", "Scores", _SCORES, drawn_by("explained", "scores"), "explanation")


_HEADLINE = (
    "AUROC [1] of each score for the edge class with the most pairs: the probability that a pair with a synapse scores "
    "higher than one without. Bars: 95 % intervals over resampled targets. Below a score: its controls, for shuffled "
    "labels the range over shuffles. Open diamonds use the wiring as input and prove nothing."
)
_RATES = "Mean rate per neuron [Hz] over the run, by population. Time [s] is that of the simulation or of the recording."
_NETWORK = (
    "The network as built, and its weights at the end of the run. Upper left: synapses onto each neuron (in-degree), by "
    "population. Upper right: synapses by delay [ms] and edge class, on a logarithmic scale. Bottom: distribution of the "
    "weights [mV] in each edge class, as % of its synapses, in bins of 0.25 mV or more; black outlines show the start, "
    "filled bars the end. STDP moves only plastic weights, between 0 and their maximum. Inhibitory weights are negative "
    "and static."
)
_RASTER = (
    "Top: each dot is a spike; x: time [s], y: neuron, sorted by population (at most 1,000 neurons, evenly spaced). "
    "Middle: mean rate per neuron [Hz] in a running window T_w, plotted at the middle of the window; the line therefore "
    "ends T_w / 2 before the run. Bottom: the rate over the whole run. The dashed line marks the start of the data that "
    "models use."
)
_TRANSIENT = " Earlier time is a transient: all weights start equal, and STDP needs about a minute to settle."
_SAMPLE = " Up to 500 neurons of each population, evenly spaced, from the start of the training data on."
_IRREGULARITY = (
    "Left: intervals between successive spikes of a neuron [ms], as % of the intervals of its population. Middle: standard "
    "deviation of a neuron's intervals divided by their mean (neurons with three spikes or more). Right: variance of a "
    "neuron's spike counts in windows of 1 s divided by their mean. A Poisson process has 1 for both (dashed). Values beyond "
    "the axis are in its last bin." + _SAMPLE
)
_SYNCHRONY = (
    "Left: correlation [1] of the spike counts of two neurons in windows T_w, as % of the pairs of these populations. Right: "
    "power spectrum of the mean rate per neuron of a population (Welch's method, 1 ms bins, Hann windows of 1.024 s); "
    "the peak is the highest value from 2 Hz on." + _SAMPLE
)
_CONNECTED_PAIRS = (
    "Top: the strongest synapses within the first population at the end of the run (of equal ones, those of the most active "
    "pairs), with weight and delay; the vermilion line marks the delay. Bottom: its most active pairs without a synapse. No "
    "neuron occurs twice in a row."
)
_CORRELATED_PAIRS = "The pairs of neurons with the most correlated spike counts."
_LAGS = (
    " Bars: pairs of spikes by the lag of the target's spike after the source's [ms], in bins of 1 ms. The dashed line is the "
    "number expected if the two neurons were independent." + _SAMPLE
)
_BINARY = (
    "The rate of each neuron in windows of width T_w that do not overlap, reduced to two values: coloured where the neuron has at "
    "least one spike in the window, white where it has none. x: time [s], the last 300 windows at most; y: neuron, sorted by population "
    "(at most 1,000 neurons, evenly spaced). Right: the share of coloured cells of each population [%]."
)
_WEIGHTS = (
    "Distribution of the plastic weights [mV], as % of the synapses (logarithmic), at the start and at the end of "
    "segments; colours go from light (early) to dark (late), with at most six times. The plasticity rule is additive and "
    "drives weights towards 0 or the maximum, so the first and the last bin contain most of them. Static weights are not "
    "shown."
)
_LEARNING = (
    "Loss [1] after each epoch on training and validation data, which are from separate ranges of time. Losses are "
    "dimensionless: traces and rates are scaled by their standard deviation in the training range. Training losses "
    "include dropout and are averaged over an epoch while the weights change, so they can exceed the validation losses. "
    "Training stops when the validation loss has not improved for some epochs (patience), and the weights of the best "
    "epoch, marked with a star, are kept. Dashed: the loss of the training mean, a trivial baseline, on the training "
    "data. Compare it with the training losses only: the rates of the validation range can vary more or less. The other "
    "baselines are scored on the test range only, in the tables. The line is not drawn for a kind of model whose loss is "
    "not defined for it. Each seed has its own line."
)
_SCORES = (
    "How well each score separates pairs of neurons with a synapse from pairs without. AUROC [1] is the probability that "
    "a pair with a synapse has the higher score; 0.5 (dashed) is chance, and lower values mean that connected pairs score"
    " lower. Bars: 95 % intervals over resampled targets, or over shuffles for shuffled labels. Blue: correlation of the "
    'trained model\'s attention, averaged over windows or compared window by window ("aligned"). Orange: its controls, the'
    " same for an untrained model and with labels shuffled within populations. Green: scores of the spikes without a "
    "trained model. Open diamonds: circular scores, computed from weights or delays; they contain the answer and prove "
    "nothing (off-scale ones are drawn at the edge). Attention reveals connectivity only if blue exceeds orange, and is "
    'worth its cost only if it also exceeds green. Scores are from the test range unless they say "whole run". Bottom: '
    "synapses of one class of mean weight [mV] against all pairs without a synapse; classes with few synapses have long "
    "bars."
)
