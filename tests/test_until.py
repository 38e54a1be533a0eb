"""`--until STAGE` checks, plans and runs only a stage and those before it; problems of later sections do not matter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, SIMULATED

import spikelens
from spikelens.config import check, load_run, load_runs, parse, valid_stages, why_invalid
from spikelens.config.run import RunConfig
from spikelens.errors import ConfigError, SpikelensError
from spikelens.jobs import job_of, jobs_of
from spikelens.names import STAGES, stages_until
from spikelens.outputs import item_outputs
from spikelens.prepare import heal, prepare, verify

E_CELL, I_CELL = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0}, {"a": 0.1, "b": 0.2, "c": -65.0, "d": 2.0}
TINY = {
    "run": {"name": "tiny", "results": "results"},
    "network": {
        "block_size": 40,
        "populations": {"E": {"count": 64, **E_CELL}, "I": {"count": 16, **I_CELL}},
        "connections": {
            "E->E": {"p": 0.3, "weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True},
            "I->E": {"p": 0.4, "weight_mv": -5.0, "delay_ms": [1, 1]},
        },
    },
    "simulation": {"duration_s": 2, "segment_s": 1, "ranks": 1, "chunk_neurons": 40},
}
"""80 neurons for 2 s; training.start_s, 50 s by default, is beyond the end."""
RUN = "results/tiny"
STEP_7 = "features.spike_counts.step_ms = 7: expected a divisor of simulation.chunk_ms = 1000"
START_50 = "training.start_s = 50: expected less than simulation.duration_s = 2"
VALID = {
    "features": {"spike_counts": {"step_ms": 10}},
    "training": {"start_s": 0},
    "models": {},
    "explanation": {"methods": {}},
    "report": {"raster_s": 1},
}
"""Later sections that can be run for 2 s."""
NETWORK, SIMULATION = {"network": 2}, {"network": 2, "simulation": 2}


class Project:
    """A folder with a configuration, and the commands that a user calls in it."""

    def __init__(self, folder: Path, **sections) -> None:
        self.folder = folder
        self.configure(**sections)

    def configure(self, **sections) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(TINY | sections, sort_keys=False), encoding="utf-8")

    def call(self, *command: str, code: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
        arguments = [sys.executable, "-m", *command]
        done = subprocess.run(
            arguments, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
        )
        assert done.returncode == code, done.stdout[-4000:]
        assert "Traceback" not in done.stdout
        return done.stdout

    def spikelens(self, *arguments: str, code: int = 0) -> str:
        return self.call("spikelens", *arguments, code=code)

    def snakemake(self, *arguments: str, code: int = 0) -> str:
        return self.call("snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "1", *arguments, code=code)

    def done(self) -> dict[str, int]:
        """Finished jobs by rule, from `spikelens status --json`."""
        rules = json.loads(self.spikelens("status", RUN, "--json"))["rules"]
        return {row["rule"]: row["done"] for row in rules if row["done"]}

    def shards(self) -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (self.folder / RUN).glob("*/*/*.zarr/**/c/**/*") if path.is_file()}


def planned(output: str) -> dict[str, int]:
    """Jobs by rule of a dry run."""
    found = re.findall(r"^ *Job \d+: (network|simulation|features|models|explanation|report)\b", output, flags=re.MULTILINE)
    return {stage: found.count(stage) for stage in dict.fromkeys(sorted(found))}


# --- checks -------------------------------------------------------------------------------------------------------------


def run_of(**sections) -> RunConfig:
    return parse(RunConfig, {**TINY, **sections, "path": RUN}, "test")


@pytest.mark.parametrize(
    ("sections", "keys", "stage"),
    [
        ({"network": {**TINY["network"], "edges": "missing.csv"}}, {"network.edges"}, "network"),
        ({"drive": {"events": "missing.csv"}}, {"drive.events"}, "simulation"),
        ({"simulation": {**TINY["simulation"], "chunk_ms": 300}}, {"simulation.chunk_ms"}, "simulation"),
        ({"features": {"omega_pairs": {"window_s": 7}}}, {"features.omega_pairs.window_s"}, "features"),
        ({"training": {"start_s": 60}, "models": {"tft_neuron": {}}}, {"training.start_s"}, "models"),
        ({"training": {"start_s": 60}, "explanation": {"methods": {"omega": {}}}}, {"training.start_s"}, "explanation"),
        ({"explanation": {"methods": {}, "strata_mv": [2.0, 1.0]}}, {"explanation.strata_mv"}, "explanation"),
        ({"report": {"raster_s": 3}}, {"report.raster_s"}, "report"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_problem_counts_for_its_stage_and_the_later_ones(sections, keys, stage):
    run, place = run_of(**VALID | sections), SIMULATED.index(stage)
    before = SIMULATED[:place]
    for earlier in before:
        assert not keys & {problem.key for problem in check(run, earlier)}
    for later in SIMULATED[place:]:
        assert keys <= {problem.key for problem in check(run, later)}
    assert keys <= {problem.key for problem in check(run)}
    assert valid_stages(run) == before


def test_a_stage_needs_those_before_it():
    assert stages_until("simulation") == ("network", "simulation")
    assert stages_until(None) == STAGES
    run = run_of(features={"spike_counts": {"step_ms": 7}})
    assert valid_stages(run) == ("network", "simulation")
    assert why_invalid(run) == f"features, models, explanation, report: not run with this configuration: {STEP_7}"
    valid = run_of(**VALID)
    assert valid_stages(valid) == SIMULATED
    assert why_invalid(valid) is None


def test_types_and_unknown_keys_are_refused_whatever_the_stage():
    for content in ({"features": {"spike_counts": {"step": 10}}}, {"training": {"start_s": "0"}}, {"reprot": {}}):
        with pytest.raises(ConfigError):
            load_runs(TINY | content, until="network")


def test_the_job_of_a_stage_that_cannot_be_run_says_why():
    run = run_of(features={"spike_counts": {"step_ms": 7}})
    assert {job.stage for job in jobs_of(run)} == {"network", "simulation"}
    with pytest.raises(SpikelensError, match=re.escape(STEP_7)):
        job_of(run, "features.spike_counts", {"segment": 0, "block": 0})


BROKEN = {
    "window longer than a segment": {"features": {"omega_pairs": {"window_s": 7}, "spike_counts": {"step_ms": 7}}},
    "method of a model that does not exist": {**VALID, "explanation": {"methods": {"omega": {"model": "none"}}}},
    "start beyond the end": {},
    "history longer than the run": {**VALID, "models": {"tft_neuron": {"history": 10_000}}},
}


@pytest.mark.parametrize("sections", BROKEN.values(), ids=BROKEN)
def test_a_folder_is_prepared_and_restored_though_later_layouts_cannot_be_built(sections, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = run_of(**sections)
    assert len(valid_stages(run)) < len(SIMULATED)
    prepare(run)
    spikes = tmp_path / RUN / "current/spikes.zarr/zarr.json"
    content = spikes.read_bytes()
    spikes.unlink()
    heal(run)
    assert spikes.read_bytes() == content
    assert all("is missing" in fault for fault in verify(run))
    assert bool(list(item_outputs(run))) == ("features" in valid_stages(run))
    assert not (tmp_path / RUN / "current/report.html").is_symlink()


def test_links_to_results_that_the_configuration_does_not_name_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    current = tmp_path / RUN / "current"
    prepare(run_of(**VALID))
    assert (current / "report.html").is_symlink()
    (current / "notes").symlink_to("/tmp")
    prepare(run_of(features={"spike_counts": {"step_ms": 7}}))
    assert {path.name for path in current.iterdir()} == {"network.zarr", "spikes.zarr", "weights.zarr", "state.zarr", "logs", "notes"}
    prepare(run_of(**VALID))
    assert (current / "report.html").is_symlink()


def test_python_simulates_what_has_no_valid_later_section(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = spikelens.simulate(TINY)
    assert opened.spikes.spikes.shape == (2000, 80)
    with pytest.raises(SpikelensError, match=re.escape(START_50)):
        opened.summary  # noqa: B018
    assert spikelens.simulate(RUN).config.path == str(tmp_path / RUN)


# --- commands -----------------------------------------------------------------------------------------------------------


def test_check_refuses_only_what_will_be_run(tmp_path):
    project = Project(tmp_path, features={"spike_counts": {"step_ms": 7}})
    refused = project.spikelens("check", code=2)
    assert STEP_7 in refused
    assert START_50 in refused
    assert "config.yaml can be run up to simulation: results/tiny" in project.spikelens("check", "--until", "simulation")
    models = project.spikelens("check", "--until", "models", "--set", "features.spike_counts.step_ms=10", code=2)
    assert START_50 in models
    assert "step_ms" not in models
    assert "report" not in models


def test_plan_shows_only_what_will_be_run(tmp_path):
    project = Project(tmp_path)
    found = json.loads(project.spikelens("plan", "--until", "simulation", "--json"))["runs"][0]
    assert [row["rule"] for row in found["rules"]] == ["network", "simulation"]
    assert set(found["bytes_of"]) == {"network", "spikes", "weights", "state"}
    network = project.spikelens("plan", "--until", "network")
    assert "simulation" not in network
    assert "segment" not in network
    assert START_50 in project.spikelens("plan", code=2)


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_an_unknown_stage_is_refused(command, tmp_path):
    project = Project(tmp_path)
    assert "invalid choice: 'simulatoin'; did you mean simulation?" in project.spikelens(command, "--until", "simulatoin", code=2)
    assert "expected one of network, simulation" in project.spikelens(command, "--until", "xyz", code=2)


@pytest.mark.slow
def test_run_until_the_simulation_then_a_valid_section_plans_only_the_new_jobs(tmp_path):
    project = Project(tmp_path, features={"spike_counts": {"step_ms": 7}})
    assert STEP_7 in project.spikelens("run", code=2)
    assert STEP_7 in project.spikelens("run", "--until", "features", code=2)
    assert not (tmp_path / "results").exists()
    assert planned(project.spikelens("run", "--until", "simulation", "--dry-run")) == SIMULATION
    assert not (tmp_path / "results").exists()
    project.spikelens("run", "--until", "simulation", "--cores", "1")
    assert project.done() == SIMULATION
    note = f"features, models, explanation, report: not run with this configuration: {STEP_7}"
    assert note in project.spikelens("status", RUN)
    assert note in project.spikelens("status")
    assert "all files are present and intact (4 jobs" in project.spikelens("verify", RUN)
    assert "all results are in use" in project.spikelens("clean", RUN)
    opened = spikelens.open(tmp_path / RUN)
    assert opened.spikes.spikes.shape == (2000, 80)
    with pytest.raises(SpikelensError, match=re.escape(STEP_7)):
        opened.features  # noqa: B018
    before = project.shards()
    assert len(before) > 30

    project.configure(**VALID)
    assert planned(project.snakemake("--dry-run")) == {"features": 2, "explanation": 1, "report": 1}
    project.spikelens("run", "--until", "features", "--cores", "1")
    assert project.done() == {**SIMULATION, "features.spike_counts": 2}
    assert project.shards().items() >= before.items()

    project.configure(features={"spike_counts": {"step_ms": 7}})
    assert "Nothing to be done" in project.spikelens("run", "--until", "simulation", "--dry-run")
    assert "all results are in use" in project.spikelens("clean", RUN)  # an earlier configuration uses the features
    project.configure(**VALID)
    assert planned(project.snakemake("--dry-run")) == {"explanation": 1, "report": 1}


@pytest.mark.slow
def test_bare_snakemake_checks_its_targets(tmp_path):
    project = Project(tmp_path)
    for targets in ((), ("all",), ("models",), ("network", "report")):
        refused = project.snakemake(*targets, code=2)
        assert START_50 in refused
        assert "config.yaml cannot be run:" in refused
    assert not (tmp_path / "results").exists()
    assert not list((tmp_path / ".snakemake/locks").glob("*"))
    low = 'set=["training.start_s=60"]'
    assert "(from --set training.start_s=60)" in project.snakemake("models", "--config", low, code=2)
    project.snakemake("network", "simulation")
    assert project.done() == SIMULATION
    # what a submitted job calls: a process of its own, with one job as its target
    target = f"simulate:segment=1,key={next((tmp_path / RUN / 'simulation').iterdir()).name}"
    shown = project.snakemake("--force", "--nolock", "--target-jobs", target, "--allowed-rules", "simulate", "--mode", "remote")
    assert "1 of 1 steps (100%) done" in shown


@pytest.mark.slow
def test_a_sweep_with_an_invalid_member_is_simulated(tmp_path):
    project = Project(tmp_path, sweep={"drive.seed": [1, 2], "features.spike_counts.step_ms": [10, 7]})
    assert STEP_7 in project.spikelens("check", code=2)
    project.spikelens("run", "--until", "simulation", "--cores", "1")
    shown = project.spikelens("status", RUN)
    assert f"features, models, explanation, report: not run with this configuration: {STEP_7}" in shown
    assert f"models, explanation, report: not run with this configuration: {START_50}" in shown
    assert "all files are present and intact (4 jobs" in project.spikelens("verify", f"{RUN}/drive.seed=1,features.spike_counts.step_ms=7")
    assert len(spikelens.open(tmp_path / RUN)) == 4
    assert "all results are in use" in project.spikelens("clean", RUN)
    assert load_run(tmp_path / RUN / "drive.seed=2,features.spike_counts.step_ms=7").features["spike_counts"].step_ms == 7
    project.configure(sweep={"drive.seed": [1, 2], "features.spike_counts.step_ms": [10, 5]})
    assert planned(project.snakemake("simulation", "features", "--dry-run")) == {"features": 20}
