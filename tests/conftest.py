"""Small networks and runs that the tests share."""

from __future__ import annotations

import copy
import fcntl
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spikelens.config import STAGES, RunConfig, load_runs, read_yaml
from spikelens.fingerprint import fingerprint
from spikelens.prepare import prepare

if TYPE_CHECKING:
    from projects import Project

MODEL_NAMES = ("autoencoder", "tft_population", "tft_neuron")
"""The models of the reference run."""
SIMULATED = tuple(stage for stage in STAGES if stage != "recording")
"""The stages of a run whose spikes are simulated."""
REPOSITORY = Path(__file__).parent.parent

SMALL: dict[str, Any] = {
    "network.neurons": 200,
    "network.block_size": 50,
    "network.populations.E.count": 160,
    "network.populations.I.count": 40,
    "network.connections.E->E.p": 0.3,
    "network.connections.E->I.p": 0.3,
    "network.connections.I->E.p": 0.4,
    "simulation.duration_s": 6,
    "simulation.segment_s": 2,
    "simulation.chunk_neurons": 50,
    "features.omega_pairs.window_s": 1,
    "features.omega_synapses.window_s": 1,
    "training.start_s": 1,
    "models.autoencoder.sequences": 120,
    "models.autoencoder.units": 8,
    "models.autoencoder.epochs": 2,
    "models.tft_population.bin_ms": 50,
    "models.tft_population.epochs": 1,
    "models.tft_population.history": 6,
    "models.tft_population.horizon": 2,
    "models.tft_population.hidden_size": 8,
    "models.tft_population.attention_heads": 2,
    "models.tft_neuron.bin_ms": 50,
    "models.tft_neuron.epochs": 1,
    "models.tft_neuron.history": 6,
    "models.tft_neuron.horizon": 2,
    "models.tft_neuron.hidden_size": 8,
    "models.tft_neuron.attention_heads": 2,
    "models.tft_neuron.samples_per_epoch": 2000,
    "explanation.bootstraps": 20,
    "explanation.shuffles": 3,
    "report.raster_s": 1,
    "report.window_ms": 50,
}


def fingerprints(run: RunConfig) -> dict[str, list[str]]:
    """The fingerprints of each stage, and of its items."""
    items = {"features": list(run.computed_features), "models": list(run.models), "explanation": [*run.methods, ""]}
    return {stage: [fingerprint(run, stage, item) for item in items.get(stage, [""])] for stage in run.stages}


def with_keys(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a configuration with dotted keys set."""
    changed: dict[str, Any] = copy.deepcopy(dict(content))
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = changed
        for parent in parents:
            node = node[parent]
        node[last] = value
    return changed


def small_config(folder: Path, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """config.yaml at a size that runs in seconds, with results under `folder`."""
    base = with_keys(read_yaml(REPOSITORY / "config.yaml"), SMALL)
    return with_keys(base, {"run.results": str(folder / "results"), "run.name": "small", **(changes or {})})


def made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first worker to ask for it makes, and that all workers of a session share from then on."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed at it
            make(folder)
            done.touch()
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunConfig]:
    """A function that prepares a small run in its own folder: make_run({"network.seed": 2})."""

    def make(changes: Mapping[str, Any] | None = None, folder: str = "a") -> RunConfig:
        run = load_runs(small_config(tmp_path / folder, changes))[0]
        prepare(run)
        return run

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished run. It is shared by all workers, which may look at it at the same time: tests only read it, and copy it else."""
    from projects import Project, finish

    return Project(made_once(tmp_path_factory, "finished", finish))


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished run, which two ranks made; here one goes on: ranks that wait spin, on cores that others need."""
    project = finished.copy(tmp_path / "project")
    project.change({"simulation.ranks": 1})
    return project
