"""What a notebook asks of a run: spikes as events, scores as a table, single figures, a short description."""

from __future__ import annotations

import io
import json
import shutil
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import small_config
from matplotlib.figure import Figure
from test_report import synthetic_run

import spikelens
from spikelens import plots
from spikelens.errors import SpikelensError
from spikelens.layouts import layout
from spikelens.places import place_of

mpl.use("agg")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic_run(tmp_path_factory.mktemp("notebook"))


@pytest.fixture
def opened(made):
    return spikelens.open(made[0].folder)


# --- tables -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, None), (1_990, 2_010), (0, 1), (5_999, 6_000)])
def test_events_are_the_spikes_of_the_raster(made, opened, start_ms, end_ms):
    raster = made[1].spikes[start_ms:end_ms]
    events = opened.events(start_ms, end_ms)
    step, neuron = np.nonzero(raster)
    np.testing.assert_array_equal(events["time_ms"], start_ms + step)
    np.testing.assert_array_equal(events["neuron"], neuron)
    np.testing.assert_array_equal(events["population"], np.where(neuron < 160, "E", "I"))


def test_events_of_some_neurons_are_read_from_their_shards_alone(made, tmp_path):
    shutil.copytree(made[0].folder, tmp_path / "run", symlinks=True)
    opened = spikelens.open(tmp_path / "run")
    others = [path for path in layout(opened.config, "spikes").shard_paths() if not path.match("c/1/3")]
    assert len(others) == 11
    for path in others:
        path.unlink()
    events = opened.events(2_000, 4_000, [199, 160, 199])
    step, place = np.nonzero(made[1].spikes[2_000:4_000, [160, 199]])
    np.testing.assert_array_equal(events["time_ms"], 2_000 + step)
    np.testing.assert_array_equal(events["neuron"], np.array([160, 199])[place])
    assert len(opened.events(2_000, 2_001, [])) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 5), r"start_ms = -1, end_ms = 5: expected 0 <= start_ms < end_ms <= 6000"),
        ((5, 5), r"start_ms = 5, end_ms = 5"),
        ((0, 6001), r"end_ms = 6001: expected .* <= 6000 \(the run's end\)"),
        ((0, 10, [3, 200]), r"neurons: 200 does not exist; expected ids from 0 to 199"),
        ((0, 10, [-1]), r"neurons: -1 does not exist"),
    ],
)
def test_events_that_do_not_exist_are_refused(opened, arguments, message):
    with pytest.raises(SpikelensError, match=message):
        opened.events(*arguments)


def test_with_partial_events_end_at_the_first_gap(made, tmp_path):
    shutil.copytree(made[0].folder, tmp_path / "run", symlinks=True)
    (tmp_path / "run/current/spikes.zarr/spikes/c/1/0").unlink()
    events = spikelens.open(tmp_path / "run", partial=True).events()
    assert len(events) == made[1].spikes[:2_000].sum()


def test_scores_are_a_table_of_plain_columns(made, opened):
    table = opened.scores
    assert len(table) == len(made[1].scores)
    first = made[1].scores[0]
    row = table.iloc[0]
    assert [row["ci_low"], row["ci_high"]] == first["ci"]
    assert [row["start_ms"], row["end_ms"]] == first["time_range_ms"]
    assert (row["auroc"], row["edge_class"]) == (first["auroc"], first["edge_class"])
    again = pd.read_csv(io.StringIO(table.to_csv(index=False)))
    pd.testing.assert_frame_equal(again, table, check_dtype=False)


# --- descriptions -------------------------------------------------------------------------------------------------------


def test_a_notebook_describes_a_run_without_reading_its_stores(made, tmp_path):
    shutil.copytree(made[0].folder, tmp_path / "a<b", symlinks=True)
    for store in {path.resolve() for path in (tmp_path / "a<b").rglob("*.zarr")}:
        shutil.rmtree(store)
    shown = spikelens.open(tmp_path / "a<b")._repr_html_()
    assert "200 (160 E, 40 I)" in shown
    assert "6 s, 3 segments" in shown
    assert "a&lt;b" in shown
    assert "a<b" not in shown


# --- figures ------------------------------------------------------------------------------------------------------------


DRAWN = ["raster", "rates", "isi", "weights", "adjacency", "scores"]


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn_on_the_given_axes_or_on_new_ones(opened, name):
    axes = Figure().subplots()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert getattr(opened.plot, name)(ax=axes) is axes
        other = getattr(opened.plot, name)()
    assert other is not axes
    for one in (axes, other):
        assert one.get_title()
        assert one.get_xlabel()
        assert one.has_data()


def test_the_raster_has_a_dot_per_spike(made, opened):
    axes = opened.plot.raster(1_000, 1_500, [0, 7, 190], ax=Figure().subplots())
    dots = np.concatenate([np.column_stack(line.get_data()) for line in axes.get_lines()])
    step, place = np.nonzero(made[1].spikes[1_000:1_500, [0, 7, 190]])
    expected = np.column_stack([1 + step / 1000, np.array([0, 7, 190])[place]])
    np.testing.assert_allclose(dots[np.lexsort(dots.T)], expected[np.lexsort(expected.T)])
    assert axes.get_title() == "Spikes of 3 of 200 neurons"


def test_rates_are_means_per_neuron(made, opened):
    axes = opened.plot.rates(500, ax=Figure().subplots())
    excitatory = axes.get_lines()[0].get_ydata()
    np.testing.assert_allclose(excitatory, made[1].spikes[:, :160].reshape(12, 500, 160).sum(axis=(1, 2)) / 160 / 0.5)


def test_the_adjacency_has_the_weights_at_the_end(made, opened):
    axes = opened.plot.adjacency(range(50), ax=Figure().subplots())
    drawn = np.ma.filled(axes.get_images()[0].get_array(), np.nan)
    expected = np.where(made[1].synapse, made[1].weight[-1] / 2**16, np.nan)[:50, :50]
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda plot: plot.rates(0), "bin_ms = 0: expected 1 to 6000"),
        (lambda plot: plot.weights(3), "segment = 3: expected 0 to 2"),
        (lambda plot: plot.adjacency([200]), "neurons: 200 does not exist"),
        (lambda plot: plot.scores("E->X"), "edge_class = E->X: no scores; expected one of E->E"),
        (lambda plot: plot.raster(0, 7000), "end_ms = 7000"),
    ],
)
def test_what_cannot_be_drawn_is_refused(opened, draw, message):
    with pytest.raises(SpikelensError, match=message):
        draw(opened.plot)


def test_a_huge_raster_is_refused(opened, monkeypatch):
    monkeypatch.setattr(plots, "_MAX_SPIKES", 1_000)
    with pytest.raises(SpikelensError, match=r"raster: [\d,]+ spikes, expected at most 1,000; choose a shorter range or fewer neurons"):
        opened.plot.raster()
    assert opened.plot.raster(0, 100, ax=Figure().subplots()).has_data()


# --- sweeps -------------------------------------------------------------------------------------------------------------


def test_a_sweep_has_the_keys_that_differ_and_the_scores_of_all_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = small_config(tmp_path, {"sweep": {"network.seed": [1, 2], "explanation.bootstraps": [3, 4]}})
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    runs = spikelens.config.load_runs(content)
    for number, run in enumerate(runs):
        spikelens.prepare.prepare(run)
        row = {"method": "m", "score": "s", "saw": "spikes", "edge_class": "E->E", "stratum": "all", "auroc": number / 10, "ap": 0.5}
        row |= {"n_positive": 5, "n_negative": 6, "ci": [0.1, 0.2], "time_range_ms": [0, 10], "seed": {"network": run.network.seed}}
        folder = place_of(run, "explanation")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scores.json").write_text(json.dumps([row]))
    opened = spikelens.open(tmp_path / "results/small")
    assert opened.keys_that_differ.columns.tolist() == ["network.seed", "explanation.bootstraps"]
    assert opened.keys_that_differ.loc["network.seed=2,explanation.bootstraps=3"].tolist() == [2, 3]
    means = opened.scores.groupby("network.seed")["auroc"].mean()
    assert means.to_dict() == pytest.approx({1: 0.05, 2: 0.25})
    assert opened.scores["run"].tolist() == list(opened)
    assert "network.seed" in opened._repr_html_()
