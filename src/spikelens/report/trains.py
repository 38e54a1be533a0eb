"""Figures and numbers of the spike trains: irregularity, synchrony, and cross-correlograms of single pairs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.numerics import evenly_spaced
from spikelens.recording import statistics
from spikelens.recording.spikes import of_neurons, population_counts, read_spikes
from spikelens.recording.wiring import built_synapses
from spikelens.report import data, style

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MAX_NEURONS = 500
"""Of each population: the statistics of more would look the same and cost more."""
_FANO_MS = 1000
"""Windows of the Fano factor."""
_LOWEST_HZ = 2.0
"""The spectrum's peak is looked for from here on: slower changes are drifts of the rate."""
_MAX_LAG_MS = 50
_PAIRS = 3
"""Connected and unconnected pairs with a cross-correlogram."""


@dataclass(frozen=True)
class Trains:
    """The spikes of some neurons of each population, without the transient before the training data."""

    neurons: Ints
    """Ids, in increasing order."""
    steps: Ints
    ids: Ints
    """Time [ms] of each spike and the position of its neuron in `neurons`, in the order of time."""
    start: int
    end: int
    """[ms]"""

    def of(self, population: tuple[int, int]) -> NDArray[np.bool_]:
        """Which of the neurons belong to a population, given its first id and its end."""
        return (self.neurons >= population[0]) & (self.neurons < population[1])

    def counts(self, bin_ms: int) -> Ints:
        """Spikes of each neuron in bins from the start, whole bins only, (n_bins, n_neurons)."""
        n_bins = (self.end - self.start) // bin_ms
        bins = (self.steps - self.start) // bin_ms
        counts = np.zeros((n_bins, len(self.neurons)), np.int64)
        np.add.at(counts, (bins[bins < n_bins], self.ids[bins < n_bins]), 1)
        return counts


def trains(run: RunConfig) -> Trains:
    """The spikes of at most 500 neurons of each population, evenly spaced; one segment and block is read at a time."""
    start_s = run.training.start_s if 0 < run.training.start_s < run.duration_s else 0
    start, end = start_s * STEPS_PER_SECOND, run.n_steps
    neurons = np.concatenate([first + evenly_spaced(last - first, _MAX_NEURONS) for first, last in run.populations.values()])
    parts = []
    for segment, block in itertools.product(range(run.n_segments), np.unique(neurons // run.block_size).tolist()):
        first, last = run.segment_range(segment)
        parts.append(of_neurons(*read_spikes(run, max(first, start), last, [block]), neurons))
    steps, ids = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.argsort(steps, kind="stable")
    return Trains(neurons, steps[order], ids[order], start, end)


def facts(run: RunConfig) -> dict[str, Any]:
    """Mean coefficient of variation, Fano factor and correlation, and the peak of the spectrum, by population; None where undefined."""
    found, window_ms = trains(run), run.report.window_ms
    variation, undefined = _variation(found), np.full(len(found.neurons), np.nan)
    fano = statistics.fano_factors(found.counts(_FANO_MS)) if _windows(found, _FANO_MS) > 1 else undefined
    correlation = (
        statistics.count_correlations(found.counts(window_ms))
        if _windows(found, window_ms) > 1
        else np.full((len(undefined), len(undefined)), np.nan)
    )
    by_population: dict[str, Any] = {}
    for name, population in run.populations.items():
        own = found.of(population)
        spectrum = _spectrum(run, found, name)
        by_population[name] = {
            "neurons": int(own.sum()),
            "cv": _mean(variation[own]),
            "fano_factor": _mean(fano[own]),
            "correlation": _mean(correlation[np.ix_(own, own)][np.triu_indices(own.sum(), 1)]),
            "peak_hz": None if spectrum is None else _peak(*spectrum),
        }
    return {
        "time_range_ms": [found.start, found.end],
        "fano_window_ms": _FANO_MS,
        "correlation_window_ms": window_ms,
        "populations": by_population,
    }


def _variation(found: Trains) -> Floats:
    return statistics.coefficients_of_variation(*statistics.intervals(found.steps, found.ids), len(found.neurons))


def _windows(found: Trains, window_ms: int) -> int:
    return (found.end - found.start) // window_ms


def _mean(values: Floats) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _spectrum(run: RunConfig, found: Trains, population: str) -> tuple[Floats, Floats] | None:
    """Of the rate of a whole population; None without spikes."""
    counts = population_counts(run, 1)[found.start :, list(run.populations).index(population)]
    return statistics.power_spectrum(counts, 1, run.population_sizes[population]) if counts.any() else None


def _peak(frequency: Floats, density: Floats) -> float | None:
    shown = frequency >= _LOWEST_HZ
    return float(frequency[shown][np.argmax(density[shown])]) if shown.any() else None


def irregularity(run: RunConfig) -> Figure:
    """Draw the distributions of inter-spike intervals, of their coefficients of variation, and of Fano factors, by population."""
    found = trains(run)
    interval, neuron = statistics.intervals(found.steps, found.ids)
    figure = style.new_figure(10, 3.6)
    panels = figure.subplots(1, 3)
    if not len(interval):
        for axes in panels:
            style.note(axes, "no neuron spikes twice")
        return figure
    _interval_panel(panels[0], run, found, interval, neuron)
    variation = statistics.coefficients_of_variation(interval, neuron, len(found.neurons))
    _distribution(panels[1], run, found, variation)
    panels[1].set(title="Coefficient of variation", xlabel="CV of a neuron's intervals [1]")
    n_windows = _windows(found, _FANO_MS)
    if n_windows > 1:
        _distribution(panels[2], run, found, statistics.fano_factors(found.counts(_FANO_MS)))
        panels[2].set(title="Fano factor", xlabel=f"Fano factor of counts in {_FANO_MS / 1000:g} s [1]")
    else:
        style.note(panels[2], f"the data are shorter than two windows of {_FANO_MS / 1000:g} s")
    return figure


def _interval_panel(axes: Axes, run: RunConfig, found: Trains, interval: Ints, neuron: Ints) -> None:
    bins = np.geomspace(1, max(interval.max(), 10) * 1.001, 41)
    for name, population in run.populations.items():
        own = interval[found.of(population)[neuron]]
        if len(own):
            share = np.histogram(own, bins)[0] / len(own)
            axes.stairs(share, bins, color=style.population_colours(run)[name], linewidth=1.5, label=name)
    axes.set(title="Inter-spike intervals", xlabel="interval [ms]", ylabel="share of the intervals", xscale="log")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend()
    style.light_grid(axes)


def _distribution(axes: Axes, run: RunConfig, found: Trains, values: Floats) -> None:
    """Histogram of one value per neuron, for each population, with the mean."""
    high = max(1.5, style.upper_limit(values))
    bins = np.linspace(0, high, 41)
    for name, population in run.populations.items():
        own = values[found.of(population)]
        own = own[np.isfinite(own)]
        if not len(own):
            continue
        share = np.histogram(np.minimum(own, high), bins)[0] / len(own)
        label = f"{name}: mean {own.mean():.2f}"
        axes.stairs(share, bins, fill=True, alpha=0.65, color=style.population_colours(run)[name], label=label)
    axes.axvline(1, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylabel("share of the neurons")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(loc="upper left")
    style.light_grid(axes)


def synchrony(run: RunConfig) -> Figure:
    """Draw the distribution of pairwise correlations of spike counts, and the power spectrum of each population's rate."""
    found = trains(run)
    figure = style.new_figure(10, 3.8)
    correlations, spectrum = figure.subplots(1, 2)
    _correlation_panel(correlations, run, found)
    drawn = False
    for name in run.populations:
        of_population = _spectrum(run, found, name)
        if of_population is None:
            continue
        frequency, density = of_population
        peak = _peak(frequency, density)
        label = name if peak is None else f"{name}: peak at {peak:.0f} Hz"
        shown = density > 0
        spectrum.plot(frequency[shown], density[shown], color=style.population_colours(run)[name], linewidth=1.3, label=label)
        drawn = True
    if not drawn:
        style.note(spectrum, "no spikes")
        return figure
    spectrum.set(
        title="Power spectrum of the population rate",
        xlabel="frequency [Hz]",
        ylabel="density [Hz\N{SUPERSCRIPT TWO}/Hz]",
        xscale="log",
        yscale="log",
    )
    spectrum.legend()
    style.light_grid(spectrum)
    return figure


def _correlation_panel(axes: Axes, run: RunConfig, found: Trains) -> None:
    window_ms = run.report.window_ms
    if _windows(found, window_ms) < 2:
        style.note(axes, f"the data are shorter than two windows of {window_ms} ms")
        return
    correlation = statistics.count_correlations(found.counts(window_ms))
    groups = {name: np.flatnonzero(found.of(population)) for name, population in run.populations.items()}
    of_pairs = {}
    for one, other in itertools.combinations_with_replacement(groups, 2):
        block = correlation[np.ix_(groups[one], groups[other])]
        values = block[np.triu_indices(len(block), 1)] if one == other else block.ravel()
        of_pairs[f"{one}\N{EN DASH}{other}"] = values[np.isfinite(values)]
    of_pairs = {name: values for name, values in of_pairs.items() if len(values)}
    if not of_pairs:
        style.note(axes, "fewer than two neurons spike")
        return
    high = max(style.upper_limit(np.abs(values)) for values in of_pairs.values())
    bins = np.linspace(-high, high, 61)
    colours = (style.BLUE, style.PURPLE, style.VERMILION, style.GREEN, style.ORANGE, style.SKY)
    for (name, values), colour in zip(of_pairs.items(), itertools.cycle(colours), strict=False):
        share = np.histogram(np.clip(values, -high, high), bins)[0] / len(values)
        axes.stairs(share, bins, color=colour, linewidth=1.5, label=f"{name}: mean {style.value(values.mean())}")
    axes.axvline(0, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(title=f"Correlation of the spike counts in {window_ms} ms", xlabel="correlation of a pair [1]", ylabel="share of the pairs")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.legend()
    style.light_grid(axes)


@dataclass(frozen=True)
class _Pair:
    source: int
    target: int
    title: str
    delay_ms: int | None = None


def cross_correlograms(run: RunConfig) -> Figure:
    """Draw the cross-correlograms of a few pairs of neurons with and without a synapse, or of the most correlated pairs."""
    found = trains(run)
    rows = _pairs_by_wiring(run, found) if run.has_network else _most_correlated(run, found)
    figure = style.new_figure(10, 2.6 * len(rows) + 0.2)
    panels = figure.subplots(len(rows), _PAIRS, squeeze=False, sharex=True)
    for axes_of_row, pairs in zip(panels, rows, strict=True):
        for axes, pair in itertools.zip_longest(axes_of_row, pairs[:_PAIRS]):
            if pair is None:
                style.note(axes, "no such pair")
            else:
                _correlogram(axes, found, pair)
        axes_of_row[0].set_ylabel("pairs of spikes")
    for axes in panels[-1]:
        axes.set_xlabel("lag of the target's spike [ms]")
    return figure


def _correlogram(axes: Axes, found: Trains, pair: _Pair) -> None:
    source, target = (found.steps[found.ids == neuron] for neuron in (pair.source, pair.target))
    counts = statistics.cross_correlogram(source, target, _MAX_LAG_MS)
    axes.stairs(counts, np.arange(-_MAX_LAG_MS - 0.5, _MAX_LAG_MS + 1), fill=True, color=style.BLUE, alpha=0.65)
    axes.axhline(len(source) * len(target) / (found.end - found.start), color=style.BLACK, linewidth=1, linestyle=(0, (4, 3)))
    if pair.delay_ms is not None:
        axes.axvline(pair.delay_ms, color=style.VERMILION, linewidth=1.2)
    axes.set_title(pair.title, fontsize=9)
    style.light_grid(axes)


def _pairs_by_wiring(run: RunConfig, found: Trains) -> list[list[_Pair]]:
    """The strongest synapses within the first population at the end, and its most active pairs without a synapse."""
    name, population = next(iter(run.populations.items()))
    own = np.flatnonzero(found.of(population))
    weight = data.weight_matrix(run, found.neurons[own], run.n_segments - 1)
    n_spikes = np.bincount(found.ids, minlength=len(found.neurons))[own].astype(np.float64)
    activity = np.outer(n_spikes, n_spikes)
    np.fill_diagonal(activity, -1)
    connected = np.isfinite(weight)
    by_weight = np.lexsort((-activity.ravel(), np.where(connected, -weight, np.inf).ravel()))[: int(connected.sum())]
    by_activity = np.argsort(np.where(connected, np.inf, -activity).ravel(), kind="stable")[: int((~connected).sum()) - len(own)]
    rows: list[list[_Pair]] = [[], []]
    for row, places in zip(rows, (by_weight, by_activity), strict=True):
        for i, j in _each_neuron_once(places, len(own)):
            source, target = found.neurons[own[[i, j]]].tolist()
            ends = f"{name} {source}\N{RIGHTWARDS ARROW}{name} {target}"
            if row is rows[0]:
                delay = _delay(run, source, target)
                row.append(_Pair(int(own[i]), int(own[j]), f"{ends}: {weight[i, j]:.1f} mV, {delay} ms", delay))
            else:
                row.append(_Pair(int(own[i]), int(own[j]), f"{ends}: no synapse"))
    return rows


def _each_neuron_once(places: Ints, n: int) -> list[tuple[int, int]]:
    """The first pairs of an order of pairs that have no neuron in common."""
    chosen: list[tuple[int, int]] = []
    for place in places:
        pair = divmod(int(place), n)
        if len(chosen) == _PAIRS:
            break
        if not {neuron for other in chosen for neuron in other}.intersection(pair):
            chosen.append(pair)
    return chosen


def _delay(run: RunConfig, source: int, target: int) -> int:
    """The shortest delay of the synapses of a pair [ms]."""
    built = built_synapses(run, target // run.block_size)
    return int(built.delay[(built.source == source) & (built.target == target)].min())


def _most_correlated(run: RunConfig, found: Trains) -> list[list[_Pair]]:
    if _windows(found, run.report.window_ms) < 2:
        return [[]]
    correlation = np.nan_to_num(statistics.count_correlations(found.counts(run.report.window_ms)), nan=-2.0)
    rows, columns = np.triu_indices(len(found.neurons), 1)
    best = np.argsort(-correlation[rows, columns], kind="stable")[:_PAIRS]
    return [
        [
            _Pair(i, j, f"{found.neurons[i]}\N{RIGHTWARDS ARROW}{found.neurons[j]}: correlation {style.value(correlation[i, j], 2)}")
            for i, j in zip(rows[best].tolist(), columns[best].tolist(), strict=True)
            if correlation[i, j] > -2
        ]
    ]
