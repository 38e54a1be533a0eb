"""Figures of the network and of its activity: wiring, raster, rates, weights."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.layouts import layout
from spikelens.numerics import evenly_spaced
from spikelens.recording.spikes import neuron_counts
from spikelens.recording.wiring import built_synapses
from spikelens.report import data, style
from spikelens.report.remarks import NO_SYNAPSE
from spikelens.stores import open_group, read_array

_MAX_RASTER_NEURONS = 1_000
_MAX_BOUNDARIES = 6
_MAX_BINARY_WINDOWS = 300


def network(run: RunConfig) -> Figure:
    """Draw in-degrees by population, delays, and weights by edge class at the start and at the end."""
    classes = len(run.edge_classes)
    figure = style.new_figure(10, 3.6 + 1.1 * classes)
    above, below = style.stacked(figure, 3, 0.6 + 1.1 * classes)
    in_degrees, delays = above.subplots(1, 2)
    _in_degrees(in_degrees, run)
    _delays(delays, run)
    _weights_by_class(below, run)
    return figure


def _in_degrees(axes: Axes, run: RunConfig) -> None:
    degree = read_array(layout(run, "network"), "in_degree")
    step = max(1, int(np.ceil((degree.max() - degree.min() + 1) / 40)))
    bins = np.arange(degree.min(), degree.max() + 1 + step, step) - 0.5
    for name, (first, end) in run.populations.items():
        mean = degree[first:end].mean()
        label = f"{name}: mean {mean:.1f}"
        counts = np.histogram(degree[first:end], bins)[0]
        axes.stairs(counts, bins, fill=True, alpha=0.65, color=style.population_colours(run)[name], label=label)
    axes.set(title="In-degree", xlabel="synapses onto a neuron", ylabel="neurons")
    axes.legend()
    style.light_grid(axes)


def _delays(axes: Axes, run: RunConfig) -> None:
    n_delays = int(read_array(layout(run, "network"), "delay_histogram").sum(axis=0).nonzero()[0].max(initial=1)) + 1
    counts = np.zeros((len(run.edge_classes), n_delays), np.int64)
    for block in range(run.n_blocks):
        built = built_synapses(run, block)
        counts += np.bincount(data.edge_classes_of(run, built) * n_delays + built.delay, minlength=counts.size).reshape(counts.shape)
    if not counts.any():
        style.note(axes, NO_SYNAPSE)
        return
    delay = np.arange(n_delays)
    for name, count in zip(run.edge_classes, counts, strict=True):
        there = count > 0
        axes.plot(delay[there], count[there], "o-", markersize=4.5, color=style.edge_colours(run)[name], label=style.arrow(name))
    axes.set(title="Delay", xlabel="delay [ms]", ylabel="synapses", yscale="log", xlim=(0, n_delays))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="source\N{RIGHTWARDS ARROW}target", alignment="left")
    style.light_grid(axes)


def _weights_by_class(figure: SubFigure, run: RunConfig) -> None:
    histograms = data.weight_histograms(run)
    counts = histograms.counts.sum(axis=2)
    if not counts.any():
        style.note(figure.subplots(), NO_SYNAPSE)
        return
    share = counts / np.maximum(counts.sum(axis=2, keepdims=True), 1)
    rows = figure.subplots(len(run.edge_classes), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, name, start, end in zip(rows, run.edge_classes, share[0], share[-1], strict=True):
        colour = style.edge_colours(run)[name]
        axes.stairs(end, histograms.edges_mv, fill=True, color=colour, label=f"at the end, {run.duration_s} s")
        axes.stairs(start, histograms.edges_mv, color=style.BLACK, linewidth=1, label="at the start")
        axes.set_ylabel(style.arrow(name))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        style.light_grid(axes)
    rows[0].set(title="Weights in each edge class, source\N{RIGHTWARDS ARROW}target: share of its synapses", ylim=(0, 1.08))
    rows[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    rows[-1].set_xlabel("weight [mV]")


def weights(run: RunConfig) -> Figure:
    """Draw the distribution of plastic weights at the start and at the end of segments, one panel per edge class."""
    histograms = data.weight_histograms(run)
    plastic = histograms.counts[:, :, 1]
    shown_classes = [i for i in range(len(run.edge_classes)) if plastic[0, i].any()]
    figure = style.new_figure(10, 3.9)
    if not shown_classes:
        none = "no synapse of this network is plastic" if histograms.counts.any() else NO_SYNAPSE
        style.note(figure.add_subplot(), none)
        return figure
    panels = figure.subplots(1, len(shown_classes), sharey=True, squeeze=False)[0]
    for axes, i in zip(panels, shown_classes, strict=True):
        _weights_over_time(axes, run, histograms.edges_mv, plastic[:, i])
        axes.set_title(f"{style.arrow(run.edge_classes[i])}, {plastic[0, i].sum():,} plastic synapses")
    panels[0].set_ylabel("share of synapses")
    panels[0].legend(title="time", alignment="left")
    return figure


def _weights_over_time(axes: Axes, run: RunConfig, edges: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    times_s = [0, *(run.segment_range(segment)[1] // STEPS_PER_SECOND for segment in range(run.n_segments))]
    shown = evenly_spaced(len(times_s) - 1, _MAX_BOUNDARIES - 1) + 1
    shown = np.unique([0, *shown, len(times_s) - 1])
    colours = colormaps["viridis_r"](np.linspace(0.08, 1, len(shown)))
    for boundary, colour in zip(shown, colours, strict=True):
        share = counts[boundary] / max(counts[boundary].sum(), 1)
        axes.stairs(share, edges, color=colour, linewidth=1.6, label=f"{times_s[boundary]} s", zorder=2 + boundary)
    axes.set(xlabel="weight [mV]", xlim=(-0.02 * run.network.weight_max_mv, 1.02 * run.network.weight_max_mv), yscale="log")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    style.light_grid(axes)


def raster_and_rates(run: RunConfig) -> Figure:
    """Draw the spikes and running rates of the last seconds of the run, and the rates of the whole run."""
    figure = style.new_figure(10, 9)
    above, below = style.stacked(figure, 2.4, 1)
    raster, rates = above.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    _raster(raster, run)
    _last_rates(rates, run)
    _rates_over_time(below.subplots(), run)
    return figure


def binary_rates(run: RunConfig) -> Figure:
    """Draw which neurons fired in each window T_w, at the end of the run."""
    ids, window_ms = evenly_spaced(run.n_neurons, _MAX_RASTER_NEURONS), run.report.window_ms
    fired = neuron_counts(run, ids, window_ms)[-_MAX_BINARY_WINDOWS:] > 0
    end_s = run.n_steps // window_ms * window_ms / STEPS_PER_SECOND
    start_s = end_s - len(fired) * window_ms / STEPS_PER_SECOND
    population = np.searchsorted([end for _, end in run.populations.values()], ids, side="right")
    colours = style.population_colours(run)
    figure = style.new_figure(10, 5.4)
    axes = figure.add_subplot()
    axes.imshow(
        np.where(fired, population + 1, 0).T,
        aspect="auto",
        origin="lower",
        interpolation="none",
        cmap=ListedColormap(["#FFFFFF", *(colours[name] for name in run.populations)]),
        vmin=-0.5,
        vmax=len(run.populations) + 0.5,
        extent=(start_s, end_s, -0.5, run.n_neurons - 0.5),
    )
    for i, (name, (first, last)) in enumerate(run.populations.items()):
        share = f"{name}\n{100 * fired[:, population == i].mean():.0f} %" if (population == i).any() else name
        axes.text(1.008, (first + last) / 2, share, color=colours[name], transform=axes.get_yaxis_transform(), va="center")
    axes.set(title=f"Neurons with at least one spike in a window of {window_ms} ms", xlabel="time [s]", ylabel="neuron id")
    style.framed(axes)
    return figure


def rates_over_time(run: RunConfig) -> Figure:
    """Draw the rates of the whole run."""
    figure = style.new_figure(6.6, 3.6)
    _rates_over_time(figure.subplots(), run)
    return figure


def _last_span(run: RunConfig) -> tuple[int, int]:
    return run.n_steps - run.report.raster_s * STEPS_PER_SECOND, run.n_steps


def _raster(axes: Axes, run: RunConfig) -> None:
    start, end = _last_span(run)
    ids = evenly_spaced(run.n_neurons, _MAX_RASTER_NEURONS)
    segments = range(start // run.segment_steps, run.n_segments)
    spikes = open_group(layout(run, "spikes"), segments=segments)["spikes"].isel(time=slice(start, end), neuron=ids).to_numpy()
    step, place = np.nonzero(spikes)
    for name, (first, last) in run.populations.items():
        own = (ids[place] >= first) & (ids[place] < last)
        colour = style.population_colours(run)[name]
        axes.plot((start + step[own]) / 1000, ids[place[own]], ".", markersize=2, markeredgewidth=0, color=colour, rasterized=True)
        axes.text(1.008, (first + last) / 2, name, color=colour, transform=axes.get_yaxis_transform(), va="center", fontweight="bold")
    shown = "" if len(ids) == run.n_neurons else f" ({len(ids):,} of {run.n_neurons:,} neurons)"
    axes.set(title=f"Spikes of the last {run.report.raster_s} s{shown}", ylabel="neuron id", ylim=(-0.5, run.n_neurons - 0.5))


def _last_rates(axes: Axes, run: RunConfig) -> None:
    start, end = _last_span(run)
    rates = data.running_rates(run)
    middle_ms = data.rate_step_ms(run) * np.arange(len(rates)) + run.report.window_ms / 2
    shown = middle_ms >= start
    _rate_lines(axes, run, middle_ms[shown] / 1000, rates[shown])
    axes.set(
        title=f"Rate in a running window of {run.report.window_ms} ms, drawn at its middle",
        xlabel="time [s]",
        ylabel="rate [Hz]",
        xlim=(start / 1000, end / 1000),
    )


def _rates_over_time(axes: Axes, run: RunConfig) -> None:
    apart = run.report.window_ms // data.rate_step_ms(run)
    rates = data.running_rates(run)[::apart]
    rates = rates[np.isfinite(rates).all(axis=1)]
    n_joined = max(1, STEPS_PER_SECOND // run.report.window_ms)
    rates = rates[: len(rates) // n_joined * n_joined]
    means = rates.reshape(-1, n_joined, rates.shape[1]).mean(axis=1)
    joined_s = n_joined * run.report.window_ms / 1000
    _rate_lines(axes, run, (np.arange(len(means)) + 0.5) * joined_s, means)
    axes.set(title=f"Rate over the whole run, means of {joined_s:g} s", xlabel="time [s]", ylabel="rate [Hz]")
    axes.set_xlim(0, run.duration_s)
    if 0 < run.training.start_s < run.duration_s:
        axes.axvline(run.training.start_s, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            "models use data from here on",
            (run.training.start_s, 1),
            (5, -2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            va="top",
            color="0.35",
            fontsize=9,
        )


def _rate_lines(axes: Axes, run: RunConfig, time_s: NDArray[np.floating], rates: NDArray[np.floating]) -> None:
    for name, rate in zip(["all", *run.populations], rates.T, strict=True):
        axes.plot(time_s, rate, color=style.population_colours(run)[name], label=name, linewidth=1.2)
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    axes.legend(ncols=len(run.populations) + 1, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    style.light_grid(axes)
