"""Training data of the models: sequences of spike traces, and rates in non-overlapping bins.

Both are computed from a run's spikes piece by piece, so that memory depends on the size of the result, not on that of the run. Means and
standard deviations are those of the training range alone, so that no validation or test data leak into a model through its scaling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.errors import ConfigError
from spikelens.features.traces import spike_traces
from spikelens.numerics import evenly_spaced
from spikelens.recording.spikes import between, neuron_counts, of_neurons, population_counts, read_spikes

if TYPE_CHECKING:
    from spikelens.models.kinds.lstm_autoencoder import LstmAutoencoder
    from spikelens.models.kinds.tft import Tft

_PIECE_STEPS = 10_000
"""Traces are computed for this number of steps at a time [ms]: whole seconds, so that the result does not depend on it."""


# --- sequences of traces ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TraceSequences:
    """Sequences of spike traces, divided by time.

    Attributes
    ----------
    train, validation, test
        (n_sequences, steps, n_neurons) float32 traces [1].
    starts
        First step of each sequence [ms], by "train", "validation", "test".
    neurons
        (n_neurons,) ids.
    """

    train: NDArray[np.float32]
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    starts: dict[str, NDArray[np.int64]]
    neurons: NDArray[np.int64]


def trace_sequences(run: RunConfig, model: LstmAutoencoder) -> TraceSequences:
    """Compute the traces of an autoencoder's sequences from the spikes, a segment and a block at a time."""
    starts = model.starts(run)
    problems = list(model.check_sequences(run, "the autoencoder"))
    if problems:
        raise ConfigError(run.path, problems)
    neurons = evenly_spaced(run.n_neurons, model.neurons)
    times = (np.concatenate(list(starts.values()))[:, None] + np.arange(model.steps)).ravel()
    traces = np.empty((len(times), len(neurons)), np.float32)
    for block in range(run.n_blocks):
        first, end = run.block_range(block)
        columns = np.flatnonzero((neurons >= first) & (neurons < end))
        if len(columns):
            _fill_traces(run, model, block, neurons[columns], times, traces[:, columns[0] : columns[-1] + 1])
    sequences = traces.reshape(-1, model.steps, len(neurons))
    train, validation, test = np.split(sequences, np.cumsum([len(chosen) for chosen in starts.values()])[:-1])
    return TraceSequences(train, validation, test, starts, neurons)


def _fill_traces(
    run: RunConfig, model: LstmAutoencoder, block: int, neurons: NDArray[np.int64], times: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Write the traces of some neurons of a block at increasing `times` [ms] into `out`, (len(times), len(neurons))."""
    for segment in range(run.n_segments):
        begin, end = run.segment_range(segment)
        if not np.any((times >= begin) & (times < end)):
            continue
        spikes = of_neurons(*read_spikes(run, begin - model.reach_ms, end, blocks=[block]), neurons)
        for start in range(begin, end, _PIECE_STEPS):
            stop = min(start + _PIECE_STEPS, end)
            rows = slice(*np.searchsorted(times, (start, stop)))
            near = between(*spikes, start - model.reach_ms, stop)
            traces = spike_traces(*near, len(neurons), start, stop, model.tau_ms)
            out[rows] = traces[times[rows] - start]


# --- rates --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RateSeries:
    """Rates sampled every bin_ms (T_w): sample s covers steps s T_w .. (s + 1) T_w, so no two share a spike.

    Attributes
    ----------
    values
        (n_samples, n_series) float32 [Hz], from the run's start.
    names
        (n_series,) ids of the neurons, or "all" and the populations' names.
    ranges
        First sample and one past the last of "train", "validation", "test".
    mean, std
        (n_series,) float32 over the training range [Hz]; `std` is at least that of a single spike there.
    """

    values: NDArray[np.float32]
    names: NDArray[Any]
    ranges: dict[str, tuple[int, int]]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


def rate_series(run: RunConfig, model: Tft) -> RateSeries:
    """Read the rates that a TFT is trained on: of evenly spaced neurons, or of the network and each population."""
    ranges, names = model.ranges(run), model.names(run)
    if model.series == "neurons":
        counts, sizes = neuron_counts(run, names, model.bin_ms), np.ones(len(names))
    else:
        of_populations = population_counts(run, model.bin_ms)
        counts = np.column_stack([of_populations.sum(axis=1), of_populations])
        sizes = np.array([run.n_neurons, *run.population_sizes.values()])
    hz_per_spike = STEPS_PER_SECOND / model.bin_ms / sizes
    values = (counts * hz_per_spike).astype(np.float32)
    mean, std = training_scale(values, ranges["train"], hz_per_spike)
    return RateSeries(values, names, ranges, mean, std)


def neuron_rates(run: RunConfig, neurons: NDArray[np.int64], bin_ms: int) -> NDArray[np.float32]:
    """Rates of some neurons in bins of `bin_ms` from the run's start, (n_bins, n_neurons) [Hz]."""
    return (neuron_counts(run, neurons, bin_ms) * (STEPS_PER_SECOND / bin_ms)).astype(np.float32)


def training_scale(
    values: NDArray[np.float32], train: tuple[int, int], hz_per_spike: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each series over the training samples alone; the latter is at least that of a single spike."""
    trained = values[slice(*train)].astype(np.float64)
    share = 1 / len(trained)
    floor = hz_per_spike * np.sqrt(share * (1 - share))
    return trained.mean(axis=0).astype(np.float32), np.maximum(trained.std(axis=0), floor).astype(np.float32)
