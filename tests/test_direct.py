"""Python interface: `simulate` writes the same files as the workflow; `open` opens runs and sweeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import REPOSITORY, small_config

import spikelens
from spikelens import places
from spikelens.config import load_runs
from spikelens.errors import ConfigError, SpikelensError

TINY = {
    "network.block_size": 100,
    "simulation.chunk_neurons": 100,
    "simulation.ranks": 1,
    "simulation.record.neurons": [5, 170],
    "run.results": "results",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny(changes=None):
    return small_config(Path(), {**TINY, **(changes or {})})


def written(folder: Path) -> dict[str, bytes]:
    """The files that jobs of the first two stages wrote, without logs, times and flags."""
    paths = [path for stage in ("network", "simulation") for path in (folder / stage).rglob("*") if path.is_file()]
    kept = [path for path in paths if not {"manifests", "done", "logs", "benchmarks"}.intersection(path.parts)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


def call(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    command = (sys.executable, "-m", *command)
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_python_and_the_workflow_write_identical_files_and_can_continue_each_others_runs(here):
    (here / "config.yaml").write_text(yaml.safe_dump(tiny(), sort_keys=False))
    call(here, "spikelens", "run", "--until", "simulation", "--cores", "2")
    run = spikelens.simulate("config.yaml", here / "python" / "small")
    expected = written(here / "results/small")
    assert written(here / "python/small") == expected
    assert len([name for name in expected if "/c/" in name]) > 30
    assert run.spikes.spikes.shape == (6000, 200)
    assert int(run.spikes.spikes.sum()) > 0
    there = ("spikelens", "run", "config.yaml", "--set", "run.results=python")
    assert "Nothing to be done" in call(here, *there, "--until", "simulation", "--dry-run")
    call(here, *there, "--until", "features", "--cores", "2")
    assert spikelens.open("python/small").rate().sizes["neuron"] == 200


def test_a_path_a_mapping_and_a_run_are_equivalent_and_nothing_is_done_twice(here):
    (here / "config.yaml").write_text(yaml.safe_dump(tiny(), sort_keys=False))
    first = spikelens.simulate(tiny())
    assert first.config.folder == here / "results/small"
    shards = [path for stage in ("network", "simulation") for path in first.config.folder.glob(f"{stage}/**/c/**/*")]
    times = {path: path.stat().st_mtime_ns for path in shards}
    assert len(times) > 30
    for given in ("config.yaml", here / "config.yaml", "results/small", load_runs(tiny())[0]):
        again = spikelens.simulate(given)
        np.testing.assert_array_equal(again.spikes.spikes, first.spikes.spikes)
        assert again.config.folder == here / "results/small"
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_only_a_lost_shard_is_recreated(here):
    run = spikelens.simulate(tiny())
    before = written(run.config.folder)
    shard = next(run.config.folder.glob("simulation/*/spikes.zarr/spikes/c/1/0"))
    manifests = {path: path.stat().st_mtime_ns for path in run.config.folder.glob("*/*/manifests/*.json")}
    shard.unlink()
    spikelens.simulate(tiny())
    assert written(run.config.folder) == before
    changed = [path.name for path, time in manifests.items() if path.stat().st_mtime_ns != time]
    assert changed == ["1.json"]


def test_a_sweep_is_a_mapping_of_names_to_runs_that_share_a_network(here):
    sweep = spikelens.simulate({**tiny(), "sweep": {"drive.seed": [2, 10]}})
    assert list(sweep) == list(spikelens.open("results/small")) == ["drive.seed=2", "drive.seed=10"]
    assert [run.config.drive.seed for run in sweep.values()] == [2, 10]
    assert sweep["drive.seed=2"] is sweep["drive.seed=2"]
    assert not np.array_equal(sweep["drive.seed=2"].spikes.spikes, sweep["drive.seed=10"].spikes.spikes)
    assert len(list((here / "results/small/network").iterdir())) == 1
    assert repr(sweep).splitlines() == [f"<spikelens sweep {here}/results/small: 2 runs>", "  drive.seed=2", "  drive.seed=10"]
    assert repr(spikelens.open("results/small/drive.seed=2")) == f"<spikelens run {here}/results/small/drive.seed=2: 200 neurons, 6 s>"
    with pytest.raises(KeyError, match=r"drive.seed=3: expected one of drive.seed=2, drive.seed=10"):
        sweep["drive.seed=3"]


def test_a_sweep_can_be_written_to_another_folder(here):
    sweep = spikelens.simulate({**tiny(), "sweep": {"drive.seed": [2, 10]}}, "elsewhere/mine")
    assert sweep.folder == here / "elsewhere/mine"
    assert sweep["drive.seed=10"].config.run.name == "mine"
    assert not (here / "results").exists()


def test_an_open_run_is_found_from_another_folder(here, monkeypatch):
    run = spikelens.simulate(tiny())
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    assert int(run.spikes.spikes.sum()) > 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, "the configuration is a int; expected a path to a configuration file or a run's folder, a mapping"),
        ("none.yaml", "none.yaml: no such configuration file"),
        ({"netwrk": {}}, "netwrk = {}: unknown key; did you mean network?"),
        ({"base": "config.yaml"}, 'base = "config.yaml": expected only in a configuration file'),
    ],
)
def test_an_invalid_configuration_is_refused_before_anything_is_written(here, given, expected):
    with pytest.raises(SpikelensError) as refused:
        spikelens.simulate(given)
    assert expected in str(refused.value)
    assert list(here.iterdir()) == []


def test_a_folder_name_that_jobs_cannot_handle_is_refused(here):
    with pytest.raises(ConfigError, match=r'name = "my run": expected letters, digits'):
        spikelens.simulate(tiny(), "my run")


def test_a_folder_that_another_process_uses_is_refused(here):
    with places.hold(Path("results/small")), pytest.raises(SpikelensError, match="another call is working on this run"):
        spikelens.simulate(tiny())
    spikelens.simulate(tiny())


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (".", "is not a run: it has no config.json; expected a folder like results/reference"),
        ("https://example.org/run", "is a URL, expected a folder; open one store of the run with xarray"),
    ],
)
def test_a_folder_without_a_run_is_refused(here, place, expected):
    with pytest.raises(SpikelensError, match=expected):
        spikelens.open(place)
