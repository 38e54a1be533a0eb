"""Matrices over pairs of neurons, [source, target], ordered so that their structure shows, and means over their pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.recording.wiring import mean_weights
from spikelens.report import style

_MAX_CELLS = 250
"""Approximate maximum number of cells per side of a drawn matrix; each cell is the mean over its pairs."""


def matrix(axes: Axes, run: RunConfig, ids: NDArray[Any], values: NDArray[Any], **how: Any) -> Any:
    """Draw a source x target matrix, ordered by population and mean incoming weight; a cell is a small group of neurons."""
    places = order(run, ids)
    values = values[np.ix_(places, places)]
    cells = _groups(run, ids)
    starts = cells[:-1]
    known = np.isfinite(values)
    sums, counts = (
        np.add.reduceat(np.add.reduceat(part, starts, axis=0), starts, axis=1)
        for part in (np.where(known, values, 0.0), known.astype(float))
    )
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    image = axes.imshow(means, origin="upper", interpolation="none", **how)
    borders = [int(np.searchsorted(cells, np.searchsorted(ids, end))) for _, end in run.populations.values()]
    for border in borders[:-1]:
        axes.axhline(border - 0.5, color="0.6", linewidth=0.8)
        axes.axvline(border - 0.5, color="0.6", linewidth=0.8)
    _name_populations(axes, run, borders)
    sorted_by = "by population, then incoming weight" if run.has_network else "by population"
    axes.set(xlabel=f"target neuron, {sorted_by}", ylabel=f"source neuron, {sorted_by}")
    style.framed(axes)
    return image


def bar(axes: Axes, image: Any, label: str) -> None:
    """Add a colour bar of the same height as the image."""
    axes.get_figure().colorbar(image, cax=axes.inset_axes((1.03, 0, 0.035, 1)), label=label)  # type: ignore[union-attr]


def _groups(run: RunConfig, ids: NDArray[Any]) -> NDArray[np.int64]:
    """First index of each group of neurons that share a cell, and the number of neurons.

    No group contains neurons of two populations.
    """
    size = -(-len(ids) // _MAX_CELLS)
    ranges = [np.searchsorted(ids, bounds) for bounds in run.populations.values()]
    return np.array([*(start for first, end in ranges for start in range(first, end, size)), len(ids)], np.int64)


def _name_populations(axes: Axes, run: RunConfig, borders: list[int]) -> None:
    middles = [(start + end - 1) / 2 for start, end in zip([0, *borders[:-1]], borders, strict=True)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(middles, list(run.populations))
        axis.set_tick_params(length=0)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_color(style.population_colours(run)[label.get_text()])
        label.set_fontweight("bold")


def order(run: RunConfig, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices that sort neurons by population and, where the wiring is known, by mean incoming weight; ties by id."""
    population = np.searchsorted([end for _, end in run.populations.values()], ids, side="right")
    in_weight = mean_weights(run)["in_weight"][ids] if run.has_network else np.zeros(len(ids))
    return np.lexsort((ids, in_weight, population))


def means_of_pairs(
    axes: Axes, run: RunConfig, ids: NDArray[np.int64], values: NDArray[Any], synapse: NDArray[np.bool_], label: str
) -> None:
    """Draw the mean over pairs with and without a synapse of each edge class; bars are the standard deviation over pairs."""
    means = pair_means(run, ids, values, synapse)
    for line, found in enumerate(means.values()):
        for kind, offset in (("synapse", -0.12), ("no synapse", 0.12)):
            mean, deviation, _ = found[kind]
            mark = style.MARKS[kind]
            axes.plot([mean - deviation, mean + deviation], [line + offset] * 2, color=mark["color"], linewidth=1.2)
            axes.plot(mean, line + offset, linestyle="none", markersize=7, **{**mark, "label": mark["label"] if line == 0 else None})
    axes.set_yticks(range(len(means)), [style.arrow(name) for name in means])
    axes.set(title="Means over pairs", xlabel=label, ylim=(len(means) - 0.4, -0.6))
    axes.margins(x=0.1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), borderaxespad=0)
    axes.grid(axis="x", color="0.92", linewidth=0.6)


def pair_means(
    run: RunConfig, ids: NDArray[np.int64], values: NDArray[Any], synapse: NDArray[np.bool_]
) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Mean, standard deviation and number of the pairs with and without a synapse, by edge class.

    Parameters
    ----------
    ids
        (n,) ids of the neurons, ascending.
    values, synapse
        (n, n), [source, target]. A neuron is no pair with itself.
    """
    other, means = ~np.eye(len(ids), dtype=bool), {}
    for name in run.edge_classes:
        rows, columns = (slice(*np.searchsorted(ids, run.populations[part])) for part in name.split("->"))
        block, joined, valid = values[rows, columns], synapse[rows, columns], other[rows, columns]
        chosen = {"synapse": block[joined & valid], "no synapse": block[~joined & valid]}
        means[name] = {kind: _moments(found) for kind, found in chosen.items()}
    return means


def _moments(values: NDArray[Any]) -> tuple[float, float, int]:
    """Mean and standard deviation (NaN without values), and number of values."""
    if not values.size:
        return np.nan, np.nan, 0
    return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)), values.size
