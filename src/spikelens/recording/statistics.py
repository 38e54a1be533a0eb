"""Statistics of spike trains, with the definitions of Elephant (Denker et al. 2018), which tests compare.

They work on lists of spikes (`recording.spikes`) or on counts in bins. A value that the data do not define is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def intervals(steps: Ints, ids: Ints) -> tuple[Ints, Ints]:
    """Inter-spike intervals of each neuron.

    Parameters
    ----------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time.

    Returns
    -------
    interval, neuron : (n_intervals,) int64
        Each interval [ms] and its neuron, ordered by neuron, then time.
    """
    order = np.argsort(ids, kind="stable")
    steps, ids = steps[order], ids[order]
    same = ids[1:] == ids[:-1]
    return np.diff(steps)[same], ids[1:][same]


def coefficients_of_variation(interval: Ints, neuron: Ints, n_neurons: int) -> Floats:
    """Standard deviation of each neuron's intervals divided by their mean, (n_neurons,); NaN with fewer than two intervals.

    1 for a Poisson process, 0 for a regular one.
    """
    n = np.bincount(neuron, minlength=n_neurons)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(neuron, interval, n_neurons) / n
        variance = np.bincount(neuron, (interval - mean[neuron]) ** 2, n_neurons) / n
        found: Floats = np.where((n > 1) & (mean > 0), np.sqrt(variance) / mean, np.nan)
    return found


def fano_factors(counts: Ints) -> Floats:
    """Variance of each neuron's spike counts over windows divided by their mean, (n_neurons,); NaN without a spike.

    Parameters
    ----------
    counts : (n_windows, n_neurons) int64
    """
    mean = counts.mean(axis=0)
    found: Floats = np.divide(counts.var(axis=0), mean, out=np.full(len(mean), np.nan), where=mean > 0)
    return found


def count_correlations(counts: Ints) -> Floats:
    """Pearson correlation of the spike counts of each pair of neurons, (n_neurons, n_neurons); NaN if a count is constant.

    Parameters
    ----------
    counts : (n_bins, n_neurons) int64
    """
    centred = counts - counts.mean(axis=0)
    norm = np.sqrt((centred**2).sum(axis=0))
    varies = counts.min(axis=0) < counts.max(axis=0)
    scaled: Floats = np.divide(centred, norm, out=np.full(centred.shape, np.nan), where=varies)
    correlation: Floats = scaled.T @ scaled
    return correlation


def power_spectrum(counts: Ints, bin_ms: int, n_neurons: int, segment_ms: int = 1024) -> tuple[Floats, Floats]:
    """Power spectral density of a population's rate by Welch's method: Hann windows that overlap by half.

    Parameters
    ----------
    counts : (n_bins,) int64
        Spikes of the population in each bin.
    segment_ms
        Length of the windows [ms]; the frequency resolution is its inverse.

    Returns
    -------
    frequency : (n_frequencies,) float64
        [Hz], without 0.
    density : (n_frequencies,) float64
        Of the mean rate per neuron [Hz^2/Hz].
    """
    rate = counts * (1000 / (bin_ms * n_neurons))
    frequency, density = signal.welch(rate, fs=1000 / bin_ms, nperseg=min(segment_ms // bin_ms, len(rate)))
    return frequency[1:], density[1:]


def cross_correlogram(source: Ints, target: Ints, max_lag_ms: int) -> Ints:
    """Number of pairs of spikes at each lag of the target after the source, (2 * max_lag_ms + 1,), from -max_lag_ms on.

    Parameters
    ----------
    source, target : (n_spikes,) int64
        Times of the spikes of two neurons [ms], in increasing order.
    """
    first = np.searchsorted(target, source - max_lag_ms)
    n = np.searchsorted(target, source + max_lag_ms, side="right") - first
    which = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n) + np.repeat(first, n)
    lags = target[which] - np.repeat(source, n)
    return np.bincount(lags + max_lag_ms, minlength=2 * max_lag_ms + 1)
