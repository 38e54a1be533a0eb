"""Statistics of spike trains agree with Elephant's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from spikelens.recording import statistics

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import quantities as pq
    from elephant.conversion import BinnedSpikeTrain
    from elephant.spectral import welch_psd
    from elephant.spike_train_correlation import correlation_coefficient, cross_correlation_histogram
    from elephant.statistics import cv, fanofactor, isi
    from neo import AnalogSignal, SpikeTrain

END_MS, N = 20_000, 6

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")]


@pytest.fixture(scope="module")
def spikes():
    """A common rhythm makes neurons correlated; the last neuron is silent, the one before it spikes once."""
    rng = np.random.default_rng(4)
    rate = 0.01 * (1 + np.sin(2 * np.pi * 30 * np.arange(END_MS) / 1000))
    raster = rng.random((END_MS, N)) < rate[:, None] * np.linspace(0.5, 3, N)
    raster[:, N - 2 :] = False
    raster[777, N - 2] = True
    return np.nonzero(raster)


def trains(spikes):
    steps, ids = spikes
    return [SpikeTrain(steps[ids == neuron].astype(float), units="ms", t_stop=END_MS) for neuron in range(N)]


def counts_of(spikes, bin_ms):
    steps, ids = spikes
    counts = np.zeros((END_MS // bin_ms, N), np.int64)
    np.add.at(counts, (steps // bin_ms, ids), 1)
    return counts


def test_intervals_and_their_variation(spikes):
    interval, neuron = statistics.intervals(*spikes)
    found = statistics.coefficients_of_variation(interval, neuron, N)
    for one, train in enumerate(trains(spikes)[: N - 2]):
        np.testing.assert_array_equal(interval[neuron == one], isi(train).magnitude)
        assert found[one] == pytest.approx(float(cv(isi(train))))
    assert np.isnan(found[N - 2 :]).all()


def test_fano_factors(spikes):
    found = statistics.fano_factors(counts_of(spikes, 500))
    for one, train in enumerate(trains(spikes)[: N - 1]):
        windows = [train.time_slice(start * pq.ms, (start + 499.5) * pq.ms) for start in range(0, END_MS, 500)]
        assert found[one] == pytest.approx(float(fanofactor(windows)))
    assert np.isnan(found[N - 1])


def test_count_correlations(spikes):
    found = statistics.count_correlations(counts_of(spikes, 5))
    binned = BinnedSpikeTrain(trains(spikes)[: N - 1], bin_size=5 * pq.ms, t_start=0 * pq.ms, t_stop=END_MS * pq.ms)
    np.testing.assert_allclose(found[: N - 1, : N - 1], correlation_coefficient(binned), atol=1e-12)
    assert np.isnan(found[N - 1]).all()


def test_the_power_spectrum_shows_the_rhythm(spikes):
    counts = counts_of(spikes, 2).sum(axis=1)
    frequency, density = statistics.power_spectrum(counts, 2, N)
    rate = AnalogSignal((counts * 500 / N)[:, None], units="Hz", sampling_rate=500 * pq.Hz)
    expected_frequency, expected = welch_psd(rate, len_segment=512, overlap=0.5, window="hann")
    np.testing.assert_allclose(frequency, expected_frequency.magnitude[1:])
    np.testing.assert_allclose(density, expected.magnitude[0, 1:])
    assert frequency[np.argmax(density)] == pytest.approx(30, abs=1)


def test_a_rate_shorter_than_the_window_has_a_spectrum_too():
    frequency, density = statistics.power_spectrum(np.array([1, 0, 2, 1, 0, 0, 1, 2]), 10, 1)
    assert len(frequency) == len(density) == 4
    assert frequency[-1] == 50


def test_the_cross_correlogram(spikes):
    steps, ids = spikes
    found = statistics.cross_correlogram(steps[ids == 0], steps[ids == 3], 40)
    binned = [BinnedSpikeTrain(trains(spikes)[one], bin_size=1 * pq.ms, t_start=0 * pq.ms, t_stop=END_MS * pq.ms) for one in (0, 3)]
    expected, lags = cross_correlation_histogram(*binned, window=[-40, 40])
    np.testing.assert_array_equal(lags, np.arange(-40, 41))
    np.testing.assert_array_equal(found, expected.magnitude.ravel())
    empty = np.empty(0, np.int64)
    assert statistics.cross_correlogram(empty, steps[ids == 0], 3).tolist() == [0] * 7
