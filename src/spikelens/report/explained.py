"""Figures that compare attention and causal components with the wiring."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter
from numpy.typing import NDArray

from spikelens.config import MAX_DENSE_NEURONS, RunConfig
from spikelens.explanation.attended import model_of
from spikelens.explanation.contents import SHUFFLED, UNTRAINED
from spikelens.features import windows
from spikelens.report import data, matrices, style
from spikelens.report.answer import main_class
from spikelens.report.remarks import NO_SYNAPSE, remarks


def attention(run: RunConfig, name: str) -> Figure:
    """Mean attention of each head, trained and untrained; its correlation between neurons; adjacency."""
    figure = style.new_figure(11.4, 9.2)
    above, below = style.stacked(figure, 1, 1.05)
    _attention_maps(above, run, name)
    _correlation_and_wiring(below, run, name)
    return figure


def _attention_maps(figure: Any, run: RunConfig, name: str) -> None:
    stored, bin_ms = data.computed(run, name).isel(seed=0), _bin_ms(run, name)
    maps = [stored[array].mean("neuron").to_numpy() for array in ("attention", "attention_untrained")]
    n_heads = maps[0].shape[1]
    limit = max(float(np.nanmax(values)) for values in maps)
    rows = figure.subplots(2, n_heads, sharex=True, sharey=True, squeeze=False)
    for row, values, label in zip(rows, maps, ("trained", "untrained"), strict=True):
        for head, axes in enumerate(row):
            horizon, history = values.shape[0], values.shape[2]
            image = axes.imshow(
                values[:, head],
                aspect="auto",
                origin="lower",
                interpolation="none",
                vmin=0,
                vmax=limit,
                extent=(-history - 0.5, -0.5, 0.5, horizon + 0.5),
            )
            style.framed(axes)
        row[0].set_ylabel(f"{label}\nforecast step [{bin_ms} ms]")
    for head, axes in enumerate(rows[0]):
        axes.set_title(f"Head {head + 1}")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.supxlabel(f"past sample, relative to the start of the forecast [{bin_ms} ms]", fontsize=10)
    figure.colorbar(image, ax=rows, label="attention [1]", aspect=30)


def _bin_ms(run: RunConfig, name: str) -> int:
    """Sampling interval of the model whose attention is shown [ms]."""
    method: Any = run.methods[name]
    return int(model_of(run, method.model).bin_ms)


def _correlation_and_wiring(figure: Any, run: RunConfig, name: str) -> None:
    left, right, beside = figure.subplots(1, 3, width_ratios=[1, 1, 0.55])
    stored = data.computed(run, name).isel(seed=0)
    ids = stored["neuron"].to_numpy()
    if "attention_correlation" in stored:
        values = np.array(stored["attention_correlation"])
        np.fill_diagonal(values, np.nan)
        image = matrices.matrix(left, run, ids, values)
        left.set_title("Correlation of attention between neurons")
        matrices.bar(left, image, "correlation [1]")
    else:
        style.note(left, f"correlations are stored for at most {MAX_DENSE_NEURONS:,} neurons")
    if not run.has_network:
        style.note(right, "the wiring is not known")
        beside.set_axis_off()
        return
    synapse = np.isfinite(data.weight_matrix(run, ids, run.n_segments - 1)).astype(np.float32)
    image = matrices.matrix(right, run, ids, synapse, cmap="Greys", vmin=0)
    right.set_title("Adjacency")
    matrices.bar(right, image, "fraction of pairs with a synapse [1]")
    if "attention_correlation" in stored:
        matrices.means_of_pairs(beside, run, ids, values, synapse > 0, "correlation, mean [1]")
    else:
        beside.set_axis_off()


def omega_of_pairs(run: RunConfig, feature: str) -> Figure:
    """Draw the causal components of all pairs beside the weights, and their distribution with and without a synapse."""
    pairs = data.omega_of_all_pairs(run, feature)
    if not run.has_network:
        figure = style.new_figure(6, 5)
        _pairs(figure.add_subplot(), run, pairs)
        return figure
    figure = style.new_figure(10, 8.8)
    (left, right), (below, beside) = figure.subplots(2, 2, height_ratios=[1.15, 1])
    weight = data.weight_matrix(run, np.arange(run.n_neurons), run.n_segments - 1)
    _pairs(left, run, pairs)
    _weights(right, run, weight)
    _distributions(below, run, pairs, np.isfinite(weight))
    matrices.means_of_pairs(beside, run, np.arange(run.n_neurons), pairs, np.isfinite(weight), "\N{GREEK CAPITAL LETTER OMEGA}, mean [1]")
    return figure


def omega_of_synapses(run: RunConfig, feature: str) -> Figure:
    """Draw the mean causal component of the synapses in each edge class over time."""
    figure = style.new_figure(10, 3.6)
    _course(figure.add_subplot(), run, feature)
    return figure


def _pairs(axes: Axes, run: RunConfig, pairs: NDArray[np.float32]) -> None:
    positive = pairs[pairs > 0]
    norm = LogNorm(*np.percentile(positive, [1, 100])) if len(positive) > 1 and np.ptp(positive) > 0 else None
    image = matrices.matrix(axes, run, np.arange(len(pairs)), np.where(pairs > 0, pairs, np.nan), norm=norm)
    axes.set_title("\N{GREEK CAPITAL LETTER OMEGA} of all pairs, without weight and delay")
    matrices.bar(axes, image, "\N{GREEK CAPITAL LETTER OMEGA}, sum over the run [1]")


def _weights(axes: Axes, run: RunConfig, weight: NDArray[np.float32]) -> None:
    image = matrices.matrix(axes, run, np.arange(len(weight)), np.nan_to_num(weight), norm=CenteredNorm(), cmap=style.SIGNED)
    axes.set_title("Weights at the end (0: no synapse)")
    matrices.bar(axes, image, "weight, mean over pairs [mV]")


def _distributions(axes: Axes, run: RunConfig, pairs: NDArray[np.float32], connected: NDArray[np.bool_]) -> None:
    blocks = {}
    for name in run.edge_classes:
        rows, columns = (slice(*run.populations[part]) for part in name.split("->"))
        blocks[name] = pairs[rows, columns], connected[rows, columns]
    positive = np.concatenate([block[block > 0] for block, _ in blocks.values()])
    if not positive.size:
        style.note(axes, "no neuron spiked after another")
        return
    low, high = np.percentile(positive, [0.05, 99.95])
    bins = np.geomspace(low, max(high, 1.01 * low), 60)
    for name, (block, joined) in blocks.items():
        colour = style.edge_colours(run)[name]
        for chosen, line, label in ((joined, "-", "synapse"), (~joined, ":", "no synapse")):
            share = np.histogram(block[chosen], bins)[0] / max(int(chosen.sum()), 1)
            axes.stairs(share, bins, color=colour, linestyle=line, linewidth=1.5, label=f"{style.arrow(name)}, {label}")
    axes.set(xscale="log", title="Pairs with and without a synapse", xlabel="\N{GREEK CAPITAL LETTER OMEGA}, sum over the run [1]")
    axes.set(ylabel="share of pairs", ylim=(0, 1.45 * axes.get_ylim()[1]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(ncols=len(blocks), loc="upper left", fontsize=8, columnspacing=1)
    style.light_grid(axes)


def _course(axes: Axes, run: RunConfig, feature: str) -> None:
    means = data.mean_omega_by_class(run, feature)
    if means is None:
        style.note(axes, NO_SYNAPSE)
        return
    options: Any = run.features[feature]
    window_s = windows.window_s(run, options.window_s)
    edges = np.minimum(np.arange(len(means) + 1) * window_s, run.duration_s)
    for name, values in zip(run.edge_classes, means.T, strict=True):
        per_s = values / np.diff(edges)
        axes.plot((edges[1:] + edges[:-1]) / 2, per_s, color=style.edge_colours(run)[name], label=style.arrow(name))
    axes.axhline(0, color="0.5", linewidth=0.7)
    axes.set(title="Mean \N{GREEK CAPITAL LETTER OMEGA} per synapse, with weight and delay", xlabel="time [s]")
    axes.set(ylabel="\N{GREEK CAPITAL LETTER OMEGA} per second [mV/s]", xlim=(0, run.duration_s))
    axes.legend(loc="best")
    style.light_grid(axes)


def scores(run: RunConfig) -> Figure:
    """AUROC of every score for each edge class, and by weight of the synapses."""
    rows = data.connectivity_scores(run)
    if not rows:
        figure = style.new_figure(11, 2)
        style.note(figure.add_subplot(), "\n".join(["no connectivity scores", *remarks(run)]))
        return figure
    strata = [name for name in run.edge_classes if any(row["edge_class"] == name and row["stratum"] != "all" for row in rows)]
    names = _names([row for row in rows if row["stratum"] == "all"])
    height = 0.3 * len(names) + 1.2
    figure = style.new_figure(11, height + (4.2 if strata else 0))
    if not strata:
        _by_edge_class(figure, run, rows, names)
        return figure
    above, below = style.stacked(figure, height, 4.2)
    _by_edge_class(above, run, rows, names)
    _by_weight(below, run, rows, strata)
    return figure


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["shown"] for row in rows))


def headline(run: RunConfig) -> Figure:
    """AUROC of every score of one edge class, with its interval, and its controls on the same line."""
    rows = data.connectivity_scores(run)
    edge_class = main_class(rows)
    if edge_class is None:
        figure = style.new_figure(6.6, 2)
        style.note(figure.add_subplot(), "\n".join(["no connectivity scores", *remarks(run)]))
        return figure
    own = [row for row in rows if row["stratum"] == "all" and row["edge_class"] == edge_class]
    names = list(dict.fromkeys(_without_control(row["shown"]) for row in own))
    bounds = [bound for row in own if data.kind_of_score(row) != "circular" for bound in row["ci"]]
    low, high = min([0.45, *bounds]) - 0.02, max([0.6, *bounds]) + 0.02
    figure = style.new_figure(6.6, 0.42 * len(names) + 1.5)
    axes = figure.add_subplot()
    for row in own:
        kind = data.kind_of_score(row)
        place, mark = float(names.index(_without_control(row["shown"]))), style.MARKS[kind]
        if kind == "control":
            place += 0.22 if row["score"].endswith(UNTRAINED) else 0.36
        axes.plot(np.clip(row["ci"], low, high), [place, place], color=mark["color"], linewidth=1.5, solid_capstyle="butt")
        axes.plot(np.clip(row["auroc"], low, high), place, linestyle="none", markersize=5, clip_on=False, zorder=3, **mark)
    for line, name in enumerate(names):
        mean = np.mean([row["auroc"] for row in own if row["shown"] == name])
        axes.text(1.02, line, style.value(float(mean)), transform=axes.get_yaxis_transform(), va="center")
    axes.axvline(0.5, color="0.3", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="AUROC [1]; dashed: chance", xlim=(low, high), ylim=(len(names) - 0.4, -0.5))
    axes.set_title(f"{style.arrow(edge_class)}: pairs with a synapse against pairs without")
    axes.grid(axis="x", color="0.92", linewidth=0.6)
    handles = {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=2, fontsize=8.5)
    return figure


def _without_control(name: str) -> str:
    """The name of the score that a control belongs to."""
    return name.replace(UNTRAINED, "").replace(SHUFFLED, "")


def _by_edge_class(figure: Any, run: RunConfig, rows: list[dict[str, Any]], names: list[str]) -> None:
    classes = [name for name in run.edge_classes if any(row["edge_class"] == name for row in rows)]
    whole = [row for row in rows if row["stratum"] == "all"]
    bounds = [bound for row in whole if data.kind_of_score(row) != "circular" for bound in row["ci"]]
    low, high = min([0.45, *bounds]) - 0.02, max([0.55, *bounds]) + 0.02
    panels = figure.subplots(1, len(classes), sharey=True, squeeze=False)[0]
    for axes, edge_class in zip(panels, classes, strict=True):
        own = [row for row in whole if row["edge_class"] == edge_class]
        for row in own:
            place, mark = names.index(row["shown"]), style.MARKS[data.kind_of_score(row)]
            axes.plot(row["ci"], [place, place], color=mark["color"], linewidth=1.5, marker="|", markersize=9)
            # values outside the axis, e.g. circular scores, are drawn at its edge
            axes.plot(np.clip(row["auroc"], low, high), place, linestyle="none", markersize=5, clip_on=False, zorder=3, **mark)
        for place, name in enumerate(names):
            found = [row["auroc"] for row in own if row["shown"] == name]
            if found:
                shown = style.value(float(np.mean(found)))
                axes.text(1.05, place, shown, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color="0.25")
        axes.axvline(0.5, color="0.3", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.set(title=style.arrow(edge_class), xlabel="AUROC [1]", xlim=(low, high), ylim=(len(names) - 0.4, -0.6))
        axes.grid(axis="both", color="0.92", linewidth=0.6)
    panels[0].set_yticks(range(len(names)), names)
    handles = {handle.get_label(): handle for axes in panels for handle in axes.lines if not str(handle.get_label()).startswith("_")}
    figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=len(handles), fontsize=9)


def _by_weight(figure: Any, run: RunConfig, rows: list[dict[str, Any]], classes: list[str]) -> None:
    shown = [row for row in rows if row["stratum"] != "all" and data.kind_of_score(row) != "circular"]
    names = _names(shown)
    kinds = {name: data.kind_of_score(next(row for row in shown if row["shown"] == name)) for name in names}
    points = _point_styles(kinds)
    panels = figure.subplots(1, len(classes), sharey=True, squeeze=False)[0]
    for axes, edge_class in zip(panels, classes, strict=True):
        own = [row for row in shown if row["edge_class"] == edge_class]
        strata = list(dict.fromkeys(row["stratum"] for row in own))
        for number, name in enumerate(names):
            offset = 0.6 * ((number + 0.5) / len(names) - 0.5)
            for row in own:
                if row["shown"] == name:
                    x = strata.index(row["stratum"]) + offset
                    axes.plot([x, x], row["ci"], color=points[name]["color"], linewidth=1.2)
                    axes.plot(x, row["auroc"], linestyle="none", markersize=6, label=name, **points[name])
        axes.axhline(0.5, color="0.3", linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        axes.set_xticks(range(len(strata)), [name.replace("-", "\N{EN DASH}") for name in strata])
        axes.set(title=f"{style.arrow(edge_class)}, by weight of the synapse", xlabel="time-averaged weight [mV]")
        style.light_grid(axes)
    panels[0].set_ylabel("AUROC [1]")
    handles = {handle.get_label(): handle for handle in panels[0].lines if not str(handle.get_label()).startswith("_")}
    figure.legend(handles=[handles[name] for name in names if name in handles], loc="outside lower center", ncols=3, fontsize=9)


_FILLS: tuple[Literal["full", "none", "left", "right", "top", "bottom"], ...] = ("full", "none", "top", "left", "bottom", "right")
"""Fillings that tell apart scores with the same marker."""


def _point_styles(kinds: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of each score: those of its kind; scores of the same kind differ in the filling."""
    styles: dict[str, dict[str, Any]] = {}
    for name, kind in kinds.items():
        earlier = sum(kinds[other] == kind for other in styles)
        mark = style.MARKS[kind]
        fill = _FILLS[earlier % len(_FILLS)]
        styles[name] = {"color": mark["color"], "marker": mark["marker"], "fillstyle": fill, "markerfacecoloralt": "white"}
    return styles
