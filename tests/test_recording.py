"""Spikes from a file take the place of a network: features, models, methods and the report work on them alike."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY
from test_extensions import base

import spikelens
from spikelens.cli import main
from spikelens.config.load import load
from spikelens.errors import ConfigError
from spikelens.recording.spikes import neuron_counts, population_counts, read_spikes

SMALL_TFT = {"bin_ms": 50, "epochs": 1, "history": 4, "horizon": 2, "hidden_size": 4, "attention_heads": 2, "samples_per_epoch": 200}


def configuration(**changes) -> dict:
    return {
        "run": {"name": "recorded"},
        "recording": {
            "file": "spikes.npz",
            "populations": {"E": 48, "I": 12},
            "duration_s": 4,
            "segment_s": 2,
            "block_size": 30,
            **changes,
        },
        "training": {"start_s": 0},
        "models": {
            "autoencoder": {"kind": "lstm_autoencoder", "sequences": 60, "units": 4, "epochs": 1},
            "tft": {"kind": "tft", "series": "neurons", **SMALL_TFT},
        },
        "explanation": {"methods": {"attention": {}, "rate_correlation": {}, "omega": {}}, "bootstraps": 5, "shuffles": 2},
        "report": {"raster_s": 1},
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A network that was simulated, and a run on its spikes alone, whose times fall within milliseconds."""
    folder = tmp_path_factory.mktemp("recording")
    (folder / "simulated.yaml").write_text(yaml.safe_dump({**base(), "features": {"omega_pairs": {}}, "explanation": {"methods": {}}}))
    with contextlib.chdir(folder):
        for command in (["prepare", "simulated.yaml"], *([stage, "results/ours"] for stage in ("network", "simulate", "features"))):
            assert main(command) == 0
    raster = spikelens.open(folder / "results/ours").spikes.spikes.to_numpy()
    steps, ids = np.nonzero(raster)
    order = np.random.default_rng(1).permutation(len(steps))
    np.savez(folder / "spikes.npz", time_ms=(steps + 0.4)[order], neuron=ids[order])
    (folder / "recorded.yaml").write_text(yaml.safe_dump(configuration()))
    run(folder, "recorded.yaml")
    return folder


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "spikelens", "run", *arguments, "--cores", "2"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=560)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_stage_to_the_report_works_without_a_network(project, monkeypatch):
    monkeypatch.chdir(project)
    opened = spikelens.open(project / "results/recorded")
    assert list(opened.summary) == ["recording", "features", "models", "explanation", "report"]
    assert opened.summary["recording"]["spikes"] == int(spikelens.open(project / "results/ours").spikes.spikes.sum())
    assert opened.summary["report"]["remarks"] == ["the wiring is not known: no score is compared with it"]
    assert set(opened.features) == {"spike_counts", "traces", "omega_pairs"}, "causal components of synapses need synapses"
    assert set(opened.methods) == {"attention", "rate_correlation", "omega"}
    assert opened.scores.empty
    page = (project / "results/recorded/current/report.html").read_text()
    assert "The wiring is not known" in page or "the wiring is not known" in page
    assert sorted(path.name for path in (project / "results/recorded").iterdir() if path.is_dir()) == [
        "configurations", "current", "explanation", "features", "models", "recording", "report"
    ]  # fmt: skip


def test_the_same_spikes_give_the_same_features(project, monkeypatch):
    monkeypatch.chdir(project)
    simulated, recorded = (spikelens.open(project / "results" / name) for name in ("ours", "recorded"))
    np.testing.assert_array_equal(recorded.spikes.spikes, simulated.spikes.spikes)
    np.testing.assert_array_equal(recorded.features["omega_pairs"].omega, simulated.features["omega_pairs"].omega)
    np.testing.assert_array_equal(recorded.rate(100), simulated.rate(100))


def test_status_verify_and_plan_know_a_recording(project, monkeypatch, capsys):
    monkeypatch.chdir(project)
    assert main(["verify", "results/recorded"]) == 0
    assert main(["status", "results/recorded"]) == 0
    assert "waiting" in capsys.readouterr().out
    assert main(["plan", "recorded.yaml"]) == 0
    out = capsys.readouterr().out
    assert "60 neurons, a recording" in out
    assert "network" not in out


def imported(folder: Path, times, ids, **changes):
    """A run whose recording was imported, in the working folder."""
    np.savez(folder / "spikes.npz", time_ms=np.asarray(times, float), neuron=np.asarray(ids))
    content = {**configuration(**changes), "features": {}, "models": {}, "explanation": {"methods": {}}}
    (folder / "c.yaml").write_text(yaml.safe_dump(content))
    assert main(["prepare", "c.yaml"]) == 0
    return load(["c.yaml"])[0], main(["recording", "results/recorded"])


def test_spikes_that_share_a_millisecond_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, code = imported(tmp_path, [10.1, 10.9, 10.0, 3999.999, 2000.0], [3, 3, 59, 31, 30])
    assert code == 0
    steps, ids = read_spikes(run, 0, run.n_steps)
    assert list(zip(steps.tolist(), ids.tolist(), strict=True)) == [(10, 3), (10, 3), (10, 59), (2000, 30), (3999, 31)]
    assert neuron_counts(run, np.array([3, 30]), 1000).tolist() == [[2, 0], [0, 0], [0, 1], [0, 0]]
    assert population_counts(run, 2000).tolist() == [[2, 1], [2, 0]]
    assert int(spikelens.open("results/recorded", partial=True).spikes.spikes.sum()) == 5


@pytest.mark.parametrize(
    ("times", "ids", "expected"),
    [
        ([4000.0], [1], r"row 0: 4000.0, expected a time in \[0, 4000\) ms \(recording.duration_s\)"),
        ([1.0, -0.5], [1, 1], "row 1: -0.5, expected a time"),
        ([1.0], [60], r"row 0: 60, expected a neuron in 0 .. 59 \(recording.populations\)"),
        ([np.nan], [1], "row 0: time_ms = nan, expected a finite number"),
        ([1.0], [1.5], "row 0: neuron = 1.5, expected a whole number"),
        ([0.5] * 256, [1] * 256, "is time_ms in ms"),
    ],
)
def test_spikes_out_of_range_are_refused_by_row(tmp_path, monkeypatch, capsys, times, ids, expected):
    monkeypatch.chdir(tmp_path)
    _, code = imported(tmp_path, times, ids)
    assert code == 2
    assert re.search(expected, capsys.readouterr().err)
    assert not list(tmp_path.glob("results/recorded/recording/*/spikes.zarr/spikes/c/0/*"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"file": "gone.npz"}, "recording.file = .*gone.npz.*no such file"),
        ({"file": "spikes.txt"}, "recording.file = .*expected a .parquet, .csv or .npz table"),
        ({"segment_s": 5}, "recording.segment_s = 5: expected at most recording.duration_s = 4"),
        ({"chunk_ms": 700}, "recording.chunk_ms = 700: expected a divisor of the segment"),
        ({"chunk_neurons": 7}, "recording.chunk_neurons = 7: expected a divisor of block_size = 30"),
        ({"populations": {}}, "recording.populations"),
    ],
)
def test_a_recording_that_cannot_be_read_is_refused_before_anything_starts(tmp_path, monkeypatch, changes, expected):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "spikes.npz", time_ms=np.array([1.0]), neuron=np.array([1]))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(configuration(**changes)))
    with pytest.raises(ConfigError, match=expected):
        load(["c.yaml"])


def test_an_item_that_reads_the_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "spikes.npz", time_ms=np.array([1.0]), neuron=np.array([1]))
    extension = (
        "from typing import Literal\nfrom spikelens.extension import Feature, Read\n"
        "class Wired(Feature):\n    kind: Literal['wired'] = 'wired'\n    def reads(self, run): return (Read('network'),)\n"
        "    def compute(self, run, segment, block): return {}\n"
    )
    (tmp_path / "wired.py").write_text(extension)
    content = {**configuration(), "extensions": ["wired.py"], "features": {"wired": {"kind": "wired"}}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"features.wired = .wired.: it reads network, which this run does not have"):
        load(["c.yaml"])


def test_other_spikes_in_the_file_are_another_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, _ = imported(tmp_path, [1.0], [1])
    os.utime(tmp_path / "spikes.npz", (1, 1))
    second, _ = imported(tmp_path, [2.0], [1])
    folders = sorted((tmp_path / "results/recorded/recording").iterdir())
    assert len(folders) == 2
    assert first == second


def test_a_stage_that_the_run_does_not_have_is_refused(project):
    snakemake = [
        "snakemake",
        "--snakefile",
        REPOSITORY / "Snakefile",
        "--config",
        "configuration=recorded.yaml",
        "--cores",
        "1",
        "--",
        "network",
    ]
    for command in ([*snakemake], ["spikelens", "run", "recorded.yaml", "--until", "network", "--cores", "1"]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, timeout=300)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "there is no stage network: this run imports a recording" in done.stderr
