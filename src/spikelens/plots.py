"""Single figures of a run, e.g. for notebooks: each method draws on given axes, or on new ones, and returns them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from spikelens import frames
from spikelens.config import RunConfig, require_stage
from spikelens.errors import SpikelensError
from spikelens.explanation.scores import ALL
from spikelens.numerics import evenly_spaced
from spikelens.recording import statistics
from spikelens.recording.spikes import population_counts
from spikelens.report import data, style

if TYPE_CHECKING:
    import pandas as pd

_MAX_SPIKES = 2_000_000
_MAX_NEURONS = 1_000


class Plots:
    """The figures of one run.

    Parameters
    ----------
    run
        Its configuration, from which its stores are found.
    scores
        Returns its table of scores (`frames.score_table`).
    """

    def __init__(self, run: RunConfig, scores: Callable[[], pd.DataFrame]) -> None:
        self._run, self._scores = run, scores

    def raster(self, start_ms: int = 0, end_ms: int | None = None, neurons: Iterable[int] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw a dot per spike: time [s] against neuron, one colour per population.

        By default, at most 1,000 evenly spaced neurons are shown, as the title says.

        Raises
        ------
        SpikelensError
            If the range is not within the run, a neuron does not exist, or there are more than two million spikes.
        """
        run = self._run
        chosen = evenly_spaced(run.n_neurons, _MAX_NEURONS) if neurons is None else frames.chosen_neurons(run, neurons)
        events = frames.events(run, start_ms, end_ms, chosen)
        if len(events) > _MAX_SPIKES:
            raise SpikelensError(
                f"raster: {len(events):,} spikes, expected at most {_MAX_SPIKES:,}; choose a shorter range or fewer neurons"
            )
        axes = _axes(ax)
        for name, colour in _colours(run).items():
            own = events[events["population"] == name]
            axes.plot(own["time_ms"] / 1000, own["neuron"], ".", markersize=2, markeredgewidth=0, color=colour, label=name, rasterized=True)
        shown = f"{len(chosen):,} of {run.n_neurons:,} neurons" if len(chosen) < run.n_neurons else f"{run.n_neurons:,} neurons"
        axes.set(title=f"Spikes of {shown}", xlabel="time [s]", ylabel="neuron")
        axes.legend(markerscale=4)
        return axes

    def rates(self, bin_ms: int = 100, *, ax: Axes | None = None) -> Axes:
        """Draw the mean rate per neuron [Hz] of each population in bins of `bin_ms`.

        Raises
        ------
        SpikelensError
            If a bin is shorter than 1 ms or longer than the run.
        """
        run = self._run
        if not 1 <= bin_ms <= run.n_steps:
            raise SpikelensError(f"bin_ms = {bin_ms}: expected 1 to {run.n_steps} (the run's duration)")
        counts = population_counts(run, bin_ms)
        axes = _axes(ax)
        middle_s = (np.arange(len(counts)) + 0.5) * bin_ms / 1000
        for (name, colour), of_population in zip(_colours(run).items(), counts.T, strict=True):
            axes.plot(middle_s, of_population * (1000 / bin_ms / run.population_sizes[name]), color=colour, label=name, linewidth=1.2)
        axes.set(title=f"Rates in bins of {bin_ms} ms", xlabel="time [s]", ylabel="rate [Hz]")
        axes.legend()
        return axes

    def isi(self, start_ms: int = 0, end_ms: int | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the distribution of inter-spike intervals [ms] of each population, for at most 1,000 evenly spaced neurons."""
        run = self._run
        chosen = evenly_spaced(run.n_neurons, _MAX_NEURONS)
        events = frames.events(run, start_ms, end_ms, chosen)
        axes = _axes(ax)
        bins = np.geomspace(1, max(int(events["time_ms"].max() - events["time_ms"].min()) if len(events) else 0, 10), 41)
        for name, colour in _colours(run).items():
            own = events[events["population"] == name]
            interval, _ = statistics.intervals(own["time_ms"].to_numpy(), own["neuron"].to_numpy(np.int64))
            if len(interval):
                axes.stairs(np.histogram(interval, bins)[0] / len(interval), bins, color=colour, label=name, linewidth=1.5)
        axes.set(title="Inter-spike intervals", xlabel="interval [ms]", ylabel="share of the intervals", xscale="log")
        axes.legend()
        return axes

    def weights(self, segment: int | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the distribution of the plastic weights [mV] of each edge class at the end of a segment; None: the last one.

        Raises
        ------
        SpikelensError
            If the run has no network, or the segment does not exist.
        """
        run = self._run
        _require_network(run)
        boundary = run.n_segments if segment is None else segment + 1
        if not 1 <= boundary <= run.n_segments:
            raise SpikelensError(f"segment = {segment}: expected 0 to {run.n_segments - 1}")
        histograms = data.weight_histograms(run)
        axes = _axes(ax)
        for name, of_class in zip(run.edge_classes, histograms.counts[boundary, :, 1], strict=True):
            if of_class.any():
                share = of_class / of_class.sum()
                axes.stairs(share, histograms.edges_mv, color=style.edge_colours(run)[name], label=style.arrow(name), linewidth=1.5)
        end_s = run.segment_range(boundary - 1)[1] / 1000
        axes.set(title=f"Plastic weights at {end_s:g} s", xlabel="weight [mV]", ylabel="share of the synapses")
        axes.legend()
        return axes

    def adjacency(self, neurons: Iterable[int] | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the weights [mV] at the end of the run as a matrix: source downwards, target to the right, white without a synapse.

        By default, at most 1,000 evenly spaced neurons are shown.

        Raises
        ------
        SpikelensError
            If the run has no network, or a neuron does not exist.
        """
        run = self._run
        _require_network(run)
        chosen = evenly_spaced(run.n_neurons, _MAX_NEURONS) if neurons is None else frames.chosen_neurons(run, neurons)
        matrix = data.weight_matrix(run, chosen, run.n_segments - 1)
        axes = _axes(ax)
        high = style.upper_limit(np.abs(matrix))
        image = axes.imshow(matrix, cmap=style.SIGNED, vmin=-high, vmax=high, interpolation="none")
        axes.figure.colorbar(image, ax=axes, label="weight [mV]")
        axes.set(
            title=f"Synapses among {len(chosen):,} neurons", xlabel="target, in the order of ids", ylabel="source, in the order of ids"
        )
        return axes

    def scores(self, edge_class: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the AUROC of all scores against the wiring, with 95 % intervals, for an edge class like "E->E" (None: the first).

        Raises
        ------
        SpikelensError
            If there is no score of the edge class.
        """
        table = self._scores()
        whole = table[table["stratum"] == ALL]
        known = list(dict.fromkeys(whole["edge_class"]))
        chosen = edge_class or (known[0] if known else "")
        own = whole[whole["edge_class"] == chosen]
        if own.empty:
            raise SpikelensError(f"edge_class = {edge_class}: no scores; expected one of {', '.join(known) or 'none'}")
        axes = _axes(ax)
        place = np.arange(len(own))[::-1]
        axes.hlines(place, own["ci_low"], own["ci_high"], color=style.BLUE, linewidth=1.5)
        axes.plot(own["auroc"], place, "o", color=style.BLUE)
        axes.axvline(0.5, color=style.GREY, linewidth=1, linestyle=(0, (4, 3)))
        ranges = zip(own["score"], own["start_ms"] / 1000, own["end_ms"] / 1000, strict=True)
        names = [f"{score} ({start:g}\N{EN DASH}{end:g} s)" for score, start, end in ranges]
        axes.set_yticks(place, names)
        axes.set(title=f"Scores against the wiring, {style.arrow(chosen)}", xlabel="AUROC [1]")
        return axes


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def _colours(run: RunConfig) -> dict[str, str]:
    colours = style.population_colours(run)
    return {name: colours[name] for name in run.populations}


def _require_network(run: RunConfig) -> None:
    require_stage(run, "network")
