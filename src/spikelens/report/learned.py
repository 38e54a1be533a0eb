"""Figures of the sequence models: learning curves, reconstructions, encoder states, forecasts."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from spikelens.config import RunConfig
from spikelens.numerics import evenly_spaced
from spikelens.report import data, style

_SHOWN_SEQUENCES = 3
_MAX_BINS = 70
_MAX_ROWS = 200
_TRACE_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE, style.SKY, style.BLACK)


def learning(run: RunConfig) -> Figure:
    """Training and validation loss per epoch, one panel per model."""
    models = {name: model for name, model in run.models.items() if model.learns}
    n_columns = min(len(models), 3)
    n_rows = -(-len(models) // n_columns)
    figure = style.new_figure(10, 3.6 * n_rows)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in panels[len(models) :]:
        axes.set_axis_off()
    for axes, model in zip(panels, models, strict=False):
        title, seeds = model.replace("_", " "), models[model].seeds
        for i, seed in enumerate(seeds):
            history = data.training_history(run, model, seed)
            epochs = [entry["epoch"] for entry in history]
            for key, colour, label in (("train_loss", style.BLACK, "training"), ("validation_loss", style.VERMILION, "validation")):
                values = [entry[key] for entry in history]
                axes.plot(epochs, values, ".-", color=colour, markersize=4, label=label if i == 0 else None, alpha=0.9)
            best = min(history, key=lambda entry: entry["validation_loss"])
            mark = {**style.MARKS["best epoch"], "label": style.MARKS["best epoch"]["label"] if i == 0 else None}
            axes.plot(best["epoch"], best["validation_loss"], linestyle="none", markersize=11, markeredgecolor="white", zorder=3, **mark)
        _baseline(axes, models[model].mean_loss(data.model_facts(run, model, seeds[0])["scaling"]))
        axes.set(title=title if len(seeds) == 1 else f"{title}, {len(seeds)} seeds", xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        style.light_grid(axes)
    panels[0].set_ylabel("loss [1]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _baseline(axes: Axes, loss: float | None) -> None:
    if loss is None:
        axes.text(0.98, 0.98, "no baseline: not defined for this loss", transform=axes.transAxes, ha="right", va="top", color="0.35")
        return
    axes.axhline(loss, color=style.GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="training mean, on training data")


def reconstruction(run: RunConfig, name: str) -> Figure:
    """A few test sequences and their reconstruction, and the traces of the neurons that vary most."""
    stored = data.output(run, name)
    n_sequences = stored.sizes["sequence"]
    shown = [i * n_sequences // _SHOWN_SEQUENCES for i in range(min(_SHOWN_SEQUENCES, n_sequences))]
    pairs = [(stored["trace_input"][i].to_numpy(), stored["trace_reconstruction"][i].to_numpy()) for i in shown]
    # one row of pixels per neuron, so that no spike is averaged away or dropped
    rows_shown = evenly_spaced(stored.sizes["neuron"], _MAX_ROWS)
    limit = style.upper_limit(np.concatenate([given for given, _ in pairs]), 99.9)
    figure = style.new_figure(10, 2.6 * len(shown) + 0.6)
    rows = figure.subplots(len(shown), 3, width_ratios=[1, 1, 1.25], squeeze=False)
    for row, number, (given, rebuilt) in zip(rows, shown, pairs, strict=True):
        for axes, values in zip(row[:2], (given, rebuilt), strict=True):
            image = axes.imshow(
                values[:, rows_shown].T,
                aspect="auto",
                origin="lower",
                interpolation="none",
                vmin=0,
                vmax=limit,
                extent=(0, len(values), 0, run.n_neurons),
                cmap="magma",
            )
            style.framed(axes)
        row[0].set_ylabel(f"sequence {number + 1}\nneuron id")
        row[1].set_yticklabels([])
        _traces(row[2], run, given, rebuilt, stored["neuron"].to_numpy())
    rows[0, 0].set_title("Input")
    rows[0, 1].set_title("Reconstruction")
    rows[0, 2].set_title("Input solid, reconstruction dashed")
    for axes in rows[-1]:
        axes.set_xlabel("step in the sequence [ms]")
    figure.colorbar(image, ax=list(rows[:, :2].ravel()), location="bottom", shrink=0.6, aspect=40, label="spike trace [1]")
    return figure


def _traces(axes: Axes, run: RunConfig, given: NDArray[Any], rebuilt: NDArray[Any], ids: NDArray[Any]) -> None:
    chosen = np.argsort(given.max(axis=0) - given.min(axis=0), kind="stable")[::-1][: min(run.report.neurons, len(_TRACE_COLOURS))]
    step = np.arange(len(given)) + 0.5
    for place, colour in zip(chosen, _TRACE_COLOURS, strict=False):
        axes.plot(step, given[:, place], color=colour, label=f"neuron {ids[place]}")
        axes.plot(step, rebuilt[:, place], color=colour, linestyle=(0, (2, 1.5)))
    axes.set_ylabel("spike trace [1]")
    axes.set_xlim(0, len(given))
    axes.margins(y=0.08)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    style.light_grid(axes)


def encoder(run: RunConfig, name: str) -> Figure:
    """Mean and variance of each encoder unit at each step of a sequence, and their means over units."""
    stored = data.output(run, name)
    figure = style.new_figure(10, 4)
    panels = figure.subplots(1, 2)
    for axes, name, title in zip(panels, ("encoder_mean", "encoder_variance"), ("Mean", "Variance"), strict=True):
        values = stored[name].to_numpy()
        step = np.arange(1, len(values) + 1)
        axes.plot(step, values, color=style.BLUE, linewidth=0.6, alpha=0.35)
        axes.plot([], [], color=style.BLUE, linewidth=0.8, alpha=0.6, label=f"single units ({values.shape[1]})")
        axes.plot(step, values.mean(axis=1), color=style.VERMILION, linewidth=2.4, label="mean over units")
        axes.set(title=f"{title} over test sequences", xlabel="step in the sequence [ms]", ylabel=f"{title.lower()} of the state [1]")
        axes.set_xlim(1, len(values))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        style.light_grid(axes)
    panels[1].set_ylim(bottom=0)
    panels[0].legend(loc="best")
    return figure


def forecast_populations(run: RunConfig, name: str) -> Figure:
    """Forecast and observed rates of the network and of each population in the test range."""
    stored, facts = data.output(run, name), data.model_facts(run, name, run.models[name].seeds[0])
    names = stored["population"].to_numpy().tolist()
    figure = style.new_figure(10, 2.3 * len(names) + 0.5)
    rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for i, (axes, series) in enumerate(zip(rows, names, strict=True)):
        colour = style.population_colours(run)[series] if i else style.GREEN
        _observed_and_forecast(axes, stored.isel(population=i), facts, colour)
        axes.set(title="Population " + series if i else "All neurons", ylabel="rate [Hz]")
    _finish_forecast(figure, rows, facts)
    return figure


def forecast_neurons(run: RunConfig, name: str) -> Figure:
    """Forecast and observed rates of single neurons of increasing activity; density over all neurons."""
    stored, facts = data.output(run, name), data.model_facts(run, name, run.models[name].seeds[0])
    ids, rates = stored["neuron"].to_numpy(), stored["step_observed"].mean("sample").to_numpy()
    chosen = _by_rate(rates, run.report.neurons)
    figure = style.new_figure(10, max(1.5 * len(chosen) + 1, 4.6))
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.5, 1])
    left, right = parts
    rows = left.subplots(len(chosen), 1, sharex=True, squeeze=False)[:, 0]
    for axes, place in zip(rows, chosen, strict=True):
        population = _population_of(run, int(ids[place]))
        _observed_and_forecast(axes, stored.isel(neuron=place), facts, style.population_colours(run)[population])
        axes.set(title=f"Neuron {ids[place]} ({population}), mean {rates[place]:.1f} Hz", ylabel="rate [Hz]")
    observed, forecast = (stored[kind].to_numpy() for kind in ("observed", "forecast"))
    _density(right.subplots(), right, 1000 / facts["options"]["bin_ms"], observed, forecast)
    _finish_forecast(figure, rows, facts)
    return figure


def _finish_forecast(figure: Figure, rows: Any, facts: dict[str, Any]) -> None:
    rows[-1].set_xlabel("time [s]")
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    figure.suptitle(_skill(facts), x=0.01, ha="left", fontsize=10.5)


def _observed_and_forecast(axes: Axes, series: xr.Dataset, facts: dict[str, Any], colour: str) -> None:
    """Draw one series: its rate, the forecasts one step ahead as one line, and their band."""
    observed, forecast, low, high = (series[f"step_{kind}"].to_numpy() for kind in ("observed", "forecast", "low", "high"))
    time_s = (series["sample"].to_numpy() + facts["options"]["bin_ms"] / 2) / 1000
    axes.plot(time_s, observed, color="0.6", linewidth=1, label="observed")
    axes.fill_between(time_s, low, high, color=colour, alpha=0.2, linewidth=0, label="80 % band")
    axes.plot(time_s, forecast, color=colour, linewidth=1.4, label="forecast, one step ahead")
    axes.set_xlim(time_s[0], time_s[-1])
    axes.set_ylim(bottom=min(0.0, float(low.min())))
    style.light_grid(axes)


def _density(axes: Axes, figure: Any, one_spike_hz: float, observed: NDArray[Any], forecast: NDArray[Any]) -> None:
    high = max(style.upper_limit(observed, 99.9), style.upper_limit(forecast, 99.9))
    low = min(0.0, float(forecast.min()))
    # observed rates are integer numbers of spikes in T_w: each bin covers one or several of them
    step = one_spike_hz * max(1, round((high - low) / one_spike_hz / _MAX_BINS))
    bins = [np.arange(-one_spike_hz / 2, high + step, step), np.linspace(low, high + one_spike_hz / 2, _MAX_BINS)]
    counts, x, y = np.histogram2d(observed.ravel(), forecast.ravel(), bins)
    mesh = axes.pcolormesh(x, y, np.where(counts, counts, np.nan).T, norm=LogNorm(1), cmap=style.SEQUENTIAL, rasterized=True)
    axes.plot([0, high], [0, high], color=style.VERMILION, linewidth=1.2, linestyle=(0, (4, 3)), label="forecast = observed")
    axes.set(title="All neurons", xlabel="observed rate [Hz]", ylabel="forecast rate [Hz]", xlim=(x[0], high + one_spike_hz / 2))
    axes.legend(loc="upper left")
    figure.colorbar(mesh, ax=axes, label="samples", location="bottom", aspect=30, shrink=0.9)


def _by_rate(rates: NDArray[Any], n: int) -> list[int]:
    """Indices of n series at evenly spaced quantiles of the rate, ascending."""
    order = np.argsort(rates, kind="stable")
    quantiles = (np.arange(n) + 1) / n if n > 1 else np.array([0.5])
    return list(dict.fromkeys(int(order[min(int(q * len(order)), len(order) - 1)]) for q in quantiles))


def _population_of(run: RunConfig, neuron: int) -> str:
    return next(name for name, (first, end) in run.populations.items() if first <= neuron < end)


def _skill(facts: dict[str, Any]) -> str:
    """The test R^2 of the forecast and of its baselines, as text."""
    measured = {"TFT": facts["scores"], **{name.replace("_", " "): scores for name, scores in facts["baselines"].items()}}
    found = [f"{name} {style.value(scores['r2'])}" for name, scores in measured.items() if scores["r2"] is not None]
    return "R\N{SUPERSCRIPT TWO} on the test range: " + ", ".join(found) if found else ""
