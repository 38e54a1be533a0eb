"""Numbers and figures of the spike trains, on runs whose spikes are known."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from test_report import synthetic_run

from spikelens.config import load_runs
from spikelens.layouts import layout
from spikelens.prepare import prepare
from spikelens.report import style, trains
from spikelens.stores import write_shard

FIGURES = (trains.irregularity, trains.synchrony, trains.cross_correlograms)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return synthetic_run(tmp_path_factory.mktemp("trains"))


def recorded(folder, raster, **changes):
    """A run without a network whose raster is given, (time, neuron)."""
    n = raster.shape[1]
    recording = {"file": str(folder / "spikes.npz"), "populations": {"all_of_them": n}, "duration_s": len(raster) // 1000, "block_size": n}
    np.savez(folder / "spikes.npz", time_ms=np.empty(0), neuron=np.empty(0, np.int64))
    content = {"run": {"name": "recorded", "results": str(folder / "results")}, "recording": recording, "models": {}, **changes}
    run = load_runs({**content, "explanation": {"methods": {}}, "training": {"start_s": 0}, "report": {"raster_s": 1}})[0]
    prepare(run)
    spikes = layout(run, "spikes")
    for index in spikes.arrays["spikes"].indices():
        region = spikes.arrays["spikes"].region(index)
        write_shard(spikes, "spikes", index, raster[region].astype(spikes.arrays["spikes"].dtype))
    return run


def drawn(run):
    """All figures, with warnings as errors."""
    with warnings.catch_warnings(), style.styled():
        warnings.simplefilter("error")
        figures = [draw(run) for draw in FIGURES]
        for figure in figures:
            style.svg_bytes(figure)
    return figures


def texts(figure):
    return [text.get_text() for axes in figure.get_axes() for text in (*axes.texts, axes.title)]


def test_numbers_of_a_run_are_those_of_its_raster(made):
    run, truth = made
    start = run.training.start_s * 1000
    assert 0 < start < run.n_steps
    found = trains.facts(run)
    assert found["time_range_ms"] == [start, run.n_steps]
    later = truth.spikes[start:]
    of_neuron = [np.diff(np.flatnonzero(later[:, neuron])) for neuron in range(160)]
    variation = [one.std() / one.mean() for one in of_neuron if len(one) > 1]
    counts = later[: len(later) // 1000 * 1000, :160].reshape(-1, 1000, 160).sum(axis=1)
    assert found["populations"]["E"]["neurons"] == 160
    assert found["populations"]["E"]["cv"] == pytest.approx(np.mean(variation))
    assert found["populations"]["E"]["fano_factor"] == pytest.approx(np.nanmean(counts.var(axis=0) / counts.mean(axis=0)))


def test_the_strongest_synapses_are_shown_with_weight_and_delay_and_no_neuron_twice(made):
    run, truth = made
    _, _, figure = drawn(run)
    titles = [axes.get_title(loc="left") for axes in figure.get_axes()]
    connected, apart = titles[:3], titles[3:]
    ends = [[int(part.split()[1].rstrip(":")) for part in title.split("\N{RIGHTWARDS ARROW}")] for title in (*connected, *apart)]
    assert len({neuron for pair in ends[:3] for neuron in pair}) == len({neuron for pair in ends[3:] for neuron in pair}) == 6
    weight = np.where(truth.synapse, truth.weight[-1], -1)[:160, :160]
    source, target = ends[0]
    assert weight[source, target] == weight.max()
    assert f"{weight.max() / 2**16:.1f} mV, {truth.delay[source, target]} ms" in connected[0]
    for source, target in ends[3:]:
        assert not truth.synapse[source, target]


def test_a_rhythm_is_found(tmp_path):
    rng = np.random.default_rng(1)
    probability = 0.02 * (1 + np.sin(2 * np.pi * 40 * np.arange(8000) / 1000))
    found = trains.facts(recorded(tmp_path, rng.random((8000, 30)) < probability[:, None]))["populations"]["all_of_them"]
    assert found["peak_hz"] == pytest.approx(40, abs=1)
    assert found["cv"] == pytest.approx(1, abs=0.15)
    assert found["fano_factor"] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize(
    ("raster", "said"),
    [
        (np.zeros((4000, 5), bool), ["no neuron spikes twice", "no spikes", "fewer than two neurons spike", "no such pair"]),
        (np.arange(4000)[:, None] % 100 == 0, ["fewer than two neurons spike", "no such pair"]),
        (np.random.default_rng(2).random((1000, 3)) < 0.05, ["the data are shorter than two windows of 1 s"]),
    ],
    ids=["silent", "one neuron", "1 s"],
)
def test_what_the_data_do_not_define_is_said_in_the_figure(tmp_path, raster, said):
    run = recorded(tmp_path, raster)
    shown = [text for figure in drawn(run) for text in texts(figure)]
    assert not set(said) - set(shown)
    found = trains.facts(run)["populations"]["all_of_them"]
    assert found["neurons"] == raster.shape[1]
    if not raster.any():
        assert (found["cv"], found["fano_factor"], found["correlation"], found["peak_hz"]) == (None, None, None, None)
