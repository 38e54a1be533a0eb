"""Results that were copied, moved, renamed or restored are taken by the configuration that made them, and by no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import made_once
from projects import CAUSAL, END, JUDGED, MODELS, Project, contents, finish, of_features, planned

import spikelens

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path_factory, tmp_path) -> Project:
    project = Project(made_once(tmp_path_factory, "finished", finish)).copy(tmp_path / "project")
    project.change({"simulation.ranks": 1})
    return project


def copied(project: Project) -> Path:
    """`cp -a`, to another place under another name."""
    place = project.folder / "other/old"
    place.parent.mkdir()
    subprocess.run(["cp", "-a", project.results, place], check=True)
    return place


def moved(project: Project) -> Path:
    place = project.folder / "elsewhere/small"
    place.parent.mkdir()
    project.results.rename(place)
    return place


def renamed(project: Project) -> Path:
    return project.results.rename(project.results.with_name("another_name"))


def restored(project: Project) -> Path:
    """From a backup that keeps no times, no links and no empty files: all are new, in any order, and snakemake knows nothing of them."""
    shutil.rmtree(project.folder / ".snakemake")
    shutil.rmtree(project.results / "current")
    for number, path in enumerate(sorted(project.results.rglob("*"), key=lambda path: path.name[::-1])):
        if path.is_file():
            if not path.stat().st_size:
                path.unlink()
            else:
                os.utime(path, (1.6e9 + number, 1.6e9 + number))
    return project.results


def unmoved(project: Project) -> Path:
    return project.results


OTHERS = (
    ({"models.tft_neuron.learning_rate": 0.01}, {"tft_neuron 1", "attention"} | JUDGED),
    ({"training.split": [0.5, 0.25, 0.25]}, MODELS | END),
    ({"explanation.seed": 2}, JUDGED),
    ({"report.neurons": 3}, {"report"}),
    ({"features.traces.tau_ms": 7.0}, of_features("traces") | {"report"}),
    ({"features.omega_pairs.tau_ms": 7.0}, of_features("omega_pairs") | CAUSAL),
)
"""Other configurations, and the jobs that they need."""


@pytest.mark.parametrize("bring", [unmoved, copied, moved, renamed, restored])
def test_results_elsewhere_are_taken_by_their_own_configuration_alone(project, bring: Callable[[Project], Path]):
    place = bring(project)
    project.change({"run.results": place.parent.name, "run.name": place.name})
    own = yaml.safe_load((project.folder / "config.yaml").read_text())
    assert plan(project) == set()
    for changes, jobs in OTHERS:
        project.configure(own)
        project.change(changes)
        assert plan(project) == jobs, changes
    project.configure(own)
    assert plan(project) == set()


def plan(project: Project) -> set[str]:
    """Jobs that would run, under the triggers of a user's own profile."""
    shown = project.snakemake("--dry-run", "--rerun-triggers", "mtime")
    assert shown.returncode == 0, shown.stdout[-3000:]
    return planned(shown.stdout)


def test_a_copy_goes_on_under_another_configuration_and_the_original_stays_as_it_is(project):
    before, place = contents(project), copied(project)
    of_copy = {path: path.read_bytes() for path in place.rglob("*/weights.safetensors") if "current" not in path.parts}
    for command in ("verify", "status"):
        told = project.spikelens(command, "other/old")
        assert told.returncode == 0, told.stdout
    project.change({"run.results": "other", "run.name": "old", "models.tft_neuron.learning_rate": 0.01})
    project.run()
    model = json.loads((place / "current/models/tft_neuron/1/model.json").read_text())
    assert model["options"]["learning_rate"] == 0.01
    assert spikelens.open(place).summary["models"]["tft_neuron"]["1"]["scores"] == model["scores"]
    assert {path: path.read_bytes() for path in of_copy} == of_copy
    assert contents(project) == before
    told = project.spikelens("verify", "other/old")
    assert told.returncode == 0, told.stdout
