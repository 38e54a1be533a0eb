"""Figures of what attention is related to: each neuron's weights, and the causal components of pairs.

The trained model and its control, the untrained model, are drawn side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.explanation.attention import neuron_quantities
from spikelens.explanation.contents import ATTENTION_SCORES, OMEGA_DENSE, UNTRAINED
from spikelens.recording.wiring import mean_weights
from spikelens.report import data, style

_AGAINST = {"in_weight": "mean incoming weight [mV]", "out_weight": "mean outgoing weight [mV]"}
_QUANTITIES = {
    "attention_on_history": "on history [1]",
    "attention_lag": "mean lag [samples]",
    "attention_entropy": "entropy [1]",
    "attention_latest": "on latest [1]",
}
_N_BINS = 20


def attention_and_weights(run: RunConfig, name: str) -> Figure:
    """Draw four quantities of each neuron's attention against its mean weights, trained and untrained."""
    stored, weights = data.computed(run, name).isel(seed=0), mean_weights(run)
    ids, seed = stored["neuron"].to_numpy(), run.methods[name].context(run)["seeds"][0]
    quantities = {suffix: neuron_quantities(stored[f"attention{array}"].to_numpy()) for suffix, array in _VERSIONS.items()}
    figure = style.new_figure(11, 10)
    panels = figure.subplots(len(_QUANTITIES), 4, sharex=False)
    for row, (quantity, label) in zip(panels, _QUANTITIES.items(), strict=True):
        columns = [(against, suffix) for against in _AGAINST for suffix in _VERSIONS]
        for axes, (against, suffix) in zip(row, columns, strict=True):
            _neurons(axes, run, ids, weights[against][ids], quantities[suffix][quantity])
            axes.set_title(_rho(data.associations(run), name, quantity + suffix, against, "all", seed), fontsize=9)
        row[0].set_ylabel(label)
    for axes, (against, suffix) in zip(panels[-1], columns, strict=True):
        axes.set_xlabel(f"{_AGAINST[against]}\n{_version(suffix)}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), markerscale=4)
    return figure


_VERSIONS = {"": "", UNTRAINED: "_untrained"}
"""Suffix of a score and of an array, of the trained and of the untrained model."""


def _version(suffix: str) -> str:
    return "untrained model (control)" if suffix else "trained model"


def _neurons(axes: Axes, run: RunConfig, ids: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    for population, (first, end) in run.populations.items():
        own = (ids >= first) & (ids < end)
        colour = style.population_colours(run)[population]
        axes.plot(x[own], y[own], ".", color=colour, markersize=3.5, markeredgewidth=0, alpha=0.7, label=population, rasterized=True)
    axes.locator_params(nbins=4)
    style.light_grid(axes)


def _rho(rows: list[dict[str, Any]], method: str, score: str, against: str, population: str, seed: int) -> str:
    """Spearman's rho of two quantities as text; the first of several time ranges, which is the test range."""
    wanted = {"method": method, "score": score, "against": against, "population": population}
    found = next((row for row in rows if row.items() >= wanted.items() and row["seed"].get("model") == seed), None)
    return "no correlation: constant" if found is None else f"Spearman \N{GREEK SMALL LETTER RHO} = {style.value(found['rho'])}"


def attention_and_omega(run: RunConfig, name: str) -> Figure:
    """Draw the mean correlation of attention over pairs by their causal component, for each edge class, trained and untrained."""
    stored, causal = data.computed(run, name).isel(seed=0), _causal(run, name)
    known = [score for score in ATTENTION_SCORES if score in stored]
    if causal is None or not known or not run.edge_classes:
        figure = style.new_figure(10, 2)
        style.note(figure.add_subplot(), "needs synapses, and the causal components and the attention of all pairs of the same neurons")
        return figure
    method, omega = causal
    ids, seed = stored["neuron"].to_numpy(), run.methods[name].context(run)["seeds"][0]
    rows = [row for row in data.associations(run) if row.get("against_method") == method]
    figure = style.new_figure(10.5, 3.5 * len(known) + 0.4)
    panels = figure.subplots(len(known), len(run.edge_classes), squeeze=False, sharey="row")
    for row, score in zip(panels, known, strict=True):
        for axes, edge_class in zip(row, run.edge_classes, strict=True):
            part = _candidates(run, ids, edge_class)
            for suffix, array in _VERSIONS.items():
                mark = style.MARKS["control" if suffix else "attention"]
                rho = _rho(rows, name, score + suffix, OMEGA_DENSE, edge_class, seed)
                mark = {**mark, "label": f"{_version(suffix)}\n{rho.removeprefix('Spearman ')}"}
                _binned(axes, omega[part], stored[score + array].to_numpy()[part], mark)
            axes.set_title(style.arrow(edge_class))
            axes.legend(fontsize=7.5, loc="upper left").set_in_layout(False)  # wider than one of many panels
            style.light_grid(axes)
        low, high = row[0].get_ylim()
        row[0].set_ylim(low, high + 0.45 * (high - low))  # room for the legends
        row[0].set_ylabel("mean correlation of attention [1]\n" + ("window by window" if "aligned" in score else "mean over windows"))
    for axes in panels[-1]:
        axes.set_xlabel("\N{GREEK CAPITAL LETTER OMEGA} of the pair [1]")
    return figure


def _causal(run: RunConfig, attended: str) -> tuple[str, NDArray[np.float64]] | None:
    """Causal components of all pairs of the neurons with attention, in the first time range; with the name of the method."""
    ids = data.computed(run, attended)["neuron"].to_numpy()
    for name in run.methods:
        stored = data.computed(run, name)
        if OMEGA_DENSE in stored and np.array_equal(stored["source"].to_numpy(), ids):
            return name, stored[OMEGA_DENSE][0].to_numpy()
    return None


def _candidates(run: RunConfig, ids: NDArray[np.int64], edge_class: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of source and target of all pairs of distinct neurons of an edge class."""
    source, target = (np.arange(*np.searchsorted(ids, run.populations[part])) for part in edge_class.split("->"))
    rows, columns = (part.ravel() for part in np.meshgrid(source, target, indexing="ij"))
    return rows[rows != columns], columns[rows != columns]


def _binned(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], mark: dict[str, Any]) -> None:
    """Draw the mean of y, and twice its standard error, in bins of x with equally many values."""
    means = binned_means(x, y, _N_BINS)
    axes.errorbar(means[0], means[1], yerr=2 * means[2], linestyle="none", markersize=4.5, elinewidth=1, **mark)


def binned_means(x: NDArray[np.float64], y: NDArray[np.float64], n_bins: int) -> NDArray[np.float64]:
    """Mean of x, mean of y, and its standard error in bins between quantiles of x, (3, n_bins); equal values share a bin.

    Empty bins are left out, and so are values that are not finite.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    if not finite.any():
        return np.empty((3, 0))
    x, y = x[finite], y[finite]
    edges = np.unique(np.quantile(x, np.linspace(0, 1, n_bins + 1)))
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, max(len(edges) - 2, 0))
    counts, sums, of_y, squares = (np.bincount(place, weights) for weights in (None, x, y, y**2))
    filled = counts > 0
    counts, x_mean, y_mean = counts[filled], sums[filled] / counts[filled], of_y[filled] / counts[filled]
    variance = np.maximum(squares[filled] / counts - y_mean**2, 0)
    return np.stack([x_mean, y_mean, np.sqrt(variance / counts)])
