"""The numbers behind figures: order of neurons, means over pairs and bins, forecasts one step ahead, the baseline loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spikelens.models.kinds.lstm_autoencoder import LstmAutoencoder
from spikelens.models.kinds.tft import Tft
from spikelens.models.model import Model
from spikelens.models.tft import one_step_ahead
from spikelens.report import matrices, style
from spikelens.report.related import binned_means


def test_neurons_are_ordered_by_population_and_then_by_incoming_weight(make_run, monkeypatch):
    run = make_run()
    weight = np.random.default_rng(3).random(run.n_neurons)
    monkeypatch.setattr(matrices, "mean_weights", lambda run: {"in_weight": weight})
    ids = np.array([2, 5, 9, 161, 170, 199])  # E ends at 160
    expected = sorted(range(6), key=lambda i: (ids[i] >= 160, weight[ids[i]]))
    assert matrices.order(run, ids).tolist() == expected


def test_means_over_pairs_are_those_of_a_loop(make_run):
    run, rng = make_run(), np.random.default_rng(4)
    ids = np.array([0, 3, 100, 160, 180])
    values, synapse = rng.random((5, 5)), rng.random((5, 5)) < 0.5
    found = matrices.pair_means(run, ids, values, synapse)
    inhibitory = ids >= 160
    for name, source, target in (("E->E", False, False), ("E->I", False, True), ("I->E", True, False)):
        for kind, wanted in (("synapse", True), ("no synapse", False)):
            pairs = [
                values[i, j]
                for i in range(5)
                for j in range(5)
                if i != j and inhibitory[i] == source and inhibitory[j] == target and synapse[i, j] == wanted
            ]
            mean, _, number = found[name][kind]
            assert number == len(pairs)
            assert mean == pytest.approx(np.mean(pairs)) if pairs else np.isnan(mean)


def test_binned_means_of_a_line_lie_on_it():
    x = np.random.default_rng(5).permutation(np.arange(1000.0))
    means = binned_means(x, 3 * x + 1, 20)
    assert means.shape == (3, 20)
    np.testing.assert_allclose(means[1], 3 * means[0] + 1)
    np.testing.assert_allclose(means[0], np.arange(20) * 50 + 24.5)
    assert binned_means(np.zeros(10), np.arange(10.0), 20)[1].tolist() == [4.5]


class _Last(torch.nn.Module):
    """Forecasts the last value of the history, for two steps, as the persistence baseline does."""

    history, device = 3, torch.device("cpu")

    def forward(self, history, series):
        return history[:, -1:].repeat(1, 2), torch.zeros(len(series), 2, 1, 3)


def test_one_step_ahead_forecasts_each_sample_from_the_one_before_it():
    rng = np.random.default_rng(6)
    values = rng.gamma(3.0, 4.0, (400, 2)).astype(np.float32)
    starts = {"validation": np.arange(0, 200), "test": np.arange(250, 390)}
    found = one_step_ahead(_Last(), values, starts, (0.1, 0.9))
    np.testing.assert_array_equal(found["step_forecast"], values[252:392])
    np.testing.assert_array_equal(found["step_observed"], values[253:393])
    errors = values[3:203] - values[2:202]
    for column in range(2):
        low, high = np.percentile(errors[:, column], [10, 90])
        np.testing.assert_allclose(found["step_low"][:, column], np.maximum(values[252:392, column] + low, 0), atol=1e-5)
        np.testing.assert_allclose(found["step_high"][:, column], values[252:392, column] + high, atol=1e-5)
    within = (found["step_observed"] >= found["step_low"]) & (found["step_observed"] <= found["step_high"])
    assert 0.7 < within.mean() < 0.9  # the band is one of 80 %


def test_every_test_sample_is_forecast_once_from_the_test_range_alone(make_run):
    run = make_run()
    tft = run.models["tft_neuron"]
    first, end = tft.ranges(run)["test"]
    starts = tft.step_starts(run)
    assert (starts["test"] + tft.history).tolist() == list(range(first + tft.history, end))
    begin, stop = tft.ranges(run)["validation"]
    assert starts["validation"].min() >= begin
    assert starts["validation"].max() + tft.history < stop


def test_the_loss_of_the_training_mean_is_the_variance_of_the_scaled_data():
    counts = np.random.default_rng(8).poisson(0.4, (500, 4)).astype(float)
    counts[:, 2] = 0  # silent
    std = np.where(counts.std(axis=0) > 0, counts.std(axis=0), 1)
    loss = np.mean(((counts - counts.mean(axis=0)) / std) ** 2)
    scaling = {"mean": counts.mean(axis=0).tolist(), "std": std.tolist()}
    assert Tft().mean_loss(scaling) == pytest.approx(loss) == pytest.approx(0.75)
    shared = np.sqrt(np.mean((counts - counts.mean(axis=0)) ** 2))
    assert LstmAutoencoder().mean_loss(scaling) == pytest.approx(np.mean(((counts - counts.mean(axis=0)) / shared) ** 2))
    assert Model.mean_loss(Tft(), scaling) is None


def test_each_marker_has_one_meaning():
    shapes = [mark["marker"] for mark in style.MARKS.values()]
    assert len(set(shapes)) == len(shapes)
