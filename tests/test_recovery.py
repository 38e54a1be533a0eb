"""What a kill or a lost file costs: the jobs that are planned then, and results equal to those before."""

from __future__ import annotations

import json
import signal
import subprocess

import psutil
import pytest
from projects import CAUSAL, END, FEATURE_NAMES, FEATURES, MODELS, Project, kill_all, of_features, planned, processes_of, wait_for

pytestmark = pytest.mark.slow


def test_a_lost_shard_costs_the_job_that_makes_it_and_no_other(project):
    """Results are deterministic: what was made with the lost shard stays valid."""
    (project.results / "current/spikes.zarr/spikes/c/0/1").unlink()
    later = project.times("current/spikes.zarr/spikes/c/[12]/*")
    assert project.plan() == {"simulation 0"}
    project.run()
    assert project.times("current/spikes.zarr/spikes/c/[12]/*") == later
    assert project.plan() == set()


@pytest.mark.parametrize(
    "lost",
    [
        ["current/state.zarr/v/c/0/1"],
        ["current/state.zarr/stamp/c/2/0/0"],
        ["current/spikes.zarr/spikes/c/0/0", "current/spikes.zarr/spikes/c/2/1"],
        ["current/network.zarr/blocks/1/delay/c/0", "current/features/spike_counts/output.zarr/count/c/1/1"],
    ],
    ids=["a state", "the last state", "two shards", "a synapse array and a feature"],
)
def test_what_is_lost_is_made_again_in_one_call_and_equals_what_it_was(project, lost):
    before = {name: (project.results / name).read_bytes() for name in lost}
    for name in lost:
        (project.results / name).unlink()
    project.run()
    assert {name: (project.results / name).read_bytes() for name in lost} == before
    assert project.plan() == set()


@pytest.mark.parametrize(
    "lost",
    [
        "current/spikes.zarr/zarr.json",
        "current/spikes.zarr/spikes/zarr.json",
        "current/weights.zarr/1/weight/zarr.json",
        "current/features/spike_counts/output.zarr/time/c/0",
        "current/features/omega_synapses/output.zarr/blocks/1/omega/zarr.json",
    ],
)
def test_lost_metadata_are_restored_in_one_call_without_a_job(project, lost):
    path = project.results / lost
    before = path.read_bytes()
    path.unlink()
    assert "Nothing to be done" in project.run()
    restored = path.read_bytes()
    assert json.loads(restored)["node_type"] == json.loads(before)["node_type"] if path.name == "zarr.json" else restored == before
    project.verify()


def test_what_was_lost_and_what_was_changed_are_both_in_the_plan(project):
    (project.results / "current/network.zarr/in_degree/c/0").unlink()
    (project.results / "current/spikes.zarr/spikes/c/0/0").unlink()
    project.change({"features.omega_synapses.tau_ms": 10.0})
    assert project.plan() == {"network 0", "simulation 0"} | of_features("omega_synapses") | CAUSAL
    project.run()
    (project.results / "current/spikes.zarr/spikes/c/0/0").unlink()
    project.change({"features.omega_synapses.tau_ms": 15.0})
    assert project.plan() == {"simulation 0"} | of_features("omega_synapses") | CAUSAL


def test_after_kill_9_of_the_driver_a_segment_that_its_job_still_completes_is_not_simulated_again(tmp_path):
    """The documented recovery (docs/recovery.md): see that no job is left, `snakemake --unlock`, then snakemake again."""
    # segments long enough that the second is still running when the driver is killed, as soon as its log file is there
    longer = {"simulation.duration_s": 36, "simulation.segment_s": 12}
    longer |= {f"features.{name}.window_s": 12 for name in ("omega_pairs", "omega_synapses")}
    project = Project.new(tmp_path / "project", longer)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    driver = subprocess.Popen(**project.command(), **quiet)
    second = project.results / "current/logs/simulation/1.log"
    wait_for(second.exists)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not processes_of(project))
    complete = project.times("current/spikes.zarr/spikes/c/[01]/*")
    assert len(complete) == 4
    assert not project.times("current/spikes.zarr/spikes/c/2/*")
    assert project.snakemake("--unlock").returncode == 0
    jobs = planned(project.run())
    # the features of the first segment may have been done before the kill
    assert jobs | of_features(*FEATURE_NAMES, segments=[0]) == {"simulation 2"} | FEATURES | MODELS | END
    assert project.times("current/spikes.zarr/spikes/c/[01]/*") == complete
    assert len(project.times("current/spikes.zarr/spikes/c/*/*")) == 6
    assert project.plan() == set()


def test_a_kill_between_the_end_of_a_job_and_snakemakes_bookkeeping_costs_nothing(tmp_path):
    """Segment 0 is not planned again, and everything else is, whatever the target."""
    project = Project.new(tmp_path / "project")
    driver = psutil.Popen(**project.command("features"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: list(project.results.glob("simulation/*/manifests/0.json")), every_s=0.001)
    kill_all(driver)
    assert not list(project.results.glob("simulation/*/done/0.made")), "killed too late"
    assert list((project.folder / ".snakemake/incomplete").iterdir())
    assert project.snakemake("--unlock").returncode == 0
    left = {"simulation 1", "simulation 2"} | FEATURES
    assert project.plan() == left | MODELS | END
    assert project.plan("features") == left
    assert planned(project.run("features")) == left
    assert project.plan("features") == set()


def test_what_a_target_reads_is_restored_with_it(project):
    """Also if the results of the target's own stage are complete."""
    next(project.results.glob("simulation/*/spikes.zarr/spikes/c/0/1")).unlink()
    next(project.results.glob("features/traces/*/manifests/1-0.json")).unlink()
    assert project.plan("network") == set()
    assert project.plan("features") == {"simulation 0", "features.traces 1 0"}
    assert project.plan("models") == {"simulation 0"}, "no model reads traces"
