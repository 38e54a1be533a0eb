"""`spikelens status` shows the true state of every job, in all states that exist."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from conftest import made_once
from projects import RUN, Project, finish
from simulations import QUICK

from spikelens import cli, manifests, status
from spikelens.config import load_run
from spikelens.jobs import jobs_of
from spikelens.network.build import build_blocks
from spikelens.simulation.run import simulate_segment


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A finished run, shared with the tests of the workflow: read or copy it only."""
    return Project(made_once(tmp_path_factory, "finished", finish))


def told(project, *arguments):
    """The output of the command, run in snakemake's working directory."""
    finished = project.spikelens("status", RUN, *arguments)
    assert finished.returncode == 0, finished.stdout
    return json.loads(finished.stdout) if "--json" in arguments else finished.stdout


def states(run, now=None):
    """Job -> state, without the waiting jobs."""
    return {f"{job.rule} {job.name}": job.state for job in status.look(run, now).jobs if job.state != "waiting"}


# --- against snakemake --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_files_of_the_jobs_are_those_that_snakemake_plans(finished):
    outputs = {line.split("\t")[0] for line in finished.snakemake("--summary").stdout.splitlines() if line.startswith(RUN)}
    jobs = list(jobs_of(load_run(finished.results)))
    files = [path for job in jobs for path in (job.made, job.whole, *(job.files[-2:] if job.rule == "report" else []))]
    assert sorted(f"{RUN}/{path}" for path in files) == sorted(outputs)
    assert {f"{RUN}/{job.log}" for job in jobs} == {str(path.relative_to(finished.folder)) for path in finished.results.rglob("*.log")}


@pytest.mark.slow
def test_of_a_finished_run_every_job_is_done_and_its_cost_is_what_was_measured(finished):
    found = told(finished, "--json")
    assert all(row["done"] == row["jobs"] == row["measured_jobs"] for row in found["rules"])
    assert (found["segments"]["done"], found["jobs"], found["notes"]) == ([0, 1, 2], [], [])
    simulation = next(row for row in found["rules"] if row["rule"] == "simulation")
    tables = [path.read_text().splitlines() for path in finished.results.glob("simulation/*/benchmarks/*.tsv")]
    wall_s = sum(float(rows[1].split("\t")[rows[0].split("\t").index("s")]) for rows in tables)
    assert simulation["wall_s"] == pytest.approx(wall_s)
    assert simulation["core_hours"] == pytest.approx(2 * wall_s / 3600)
    assert f"{RUN}: 25 of 25 jobs done" in told(finished)


@pytest.mark.slow
def test_what_is_lost_is_named(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    (project.results / "current/features/spike_counts/output.zarr/count/c/1/0").unlink()
    lost = [(job["rule"], job["name"], job["state"]) for job in told(project, "--json")["jobs"]]
    assert [job[2] for job in lost] == ["lost"]
    assert lost[0][:2] == ("features.spike_counts", "1-0")
    assert "was done, but files are missing: snakemake will run it again:" in told(project)


@pytest.mark.slow
def test_a_failed_job_is_shown_with_its_message_and_log(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    shard = project.results / "current/network.zarr/blocks/1/source/c/0"
    content = shard.read_bytes()
    shard.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    (project.results / "current/spikes.zarr/spikes/c/1/0").unlink()
    assert project.snakemake().returncode == 1
    found = told(project, "--json")
    failed = [job for job in found["jobs"] if job["state"] == "failed"]
    assert [job["rule"] for job in failed] == ["simulation"]
    assert "network.zarr/blocks/1/source/c/0 cannot be read" in failed[0]["line"]
    assert (project.results / failed[0]["log"]).is_file()
    segment = failed[0]["name"]
    assert found["segments"]["failed"] == [int(segment)]
    text = told(project)
    assert re.search(
        rf"^failed:\n  simulation {segment}: .*cannot be read.* ago\); see {RUN}/simulation/\w+/logs/{segment}.log$", text, re.M
    )


@pytest.mark.slow
def test_a_job_is_seen_running_then_unclear_after_a_kill_and_ended_once_unlocked(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    long = {"simulation.duration_s": 3000, "simulation.segment_s": 1500, "simulation.ranks": 2, "features": {}}
    project.change(long)
    command = {**project.command(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    with subprocess.Popen(**command) as snakemake:
        try:
            running, until = [], time.monotonic() + 120
            while not (running and running[0]["line"]) and time.monotonic() < until:
                time.sleep(0.5)
                running = [job for job in told(project, "--json")["jobs"] if job["state"] == "running" and job["rule"] == "simulation"]
            assert [job["name"] for job in running] == ["0"]
            assert re.match(r"simulation, segment 1 of 2: [\d,]+ of 1,500,000 ms", running[0]["line"])
            assert running[0]["age_s"] < 30
            assert "segments: 0 running, 1 waiting" in told(project)
        finally:
            os.killpg(snakemake.pid, signal.SIGKILL)
    run, later = load_run(project.results), time.time() + status.SIGN_OF_LIFE_S + 60
    killed = simulation_of(run, later)
    if killed.state == "failed":  # ranks or their watcher outlived snakemake for long enough to say so
        assert "died first, without an error message: probably killed" in killed.line
        log = run.folder / killed.log
        log.write_text("".join(line for line in log.read_text().splitlines(keepends=True) if " INFO " in line))
    assert simulation_of(run, later).state == "unclear", "it might compute in silence"
    assert project.snakemake("--unlock").returncode == 0
    assert simulation_of(run, later).state == "ended"


def simulation_of(run, now):
    """The state of the first segment."""
    return next(job for job in status.look(run, now).jobs if (job.rule, job.name) == ("simulation", "0"))


# --- without snakemake --------------------------------------------------------------------------------------------------


def marker(run, file, number=None):
    """Write the marker of a started job as snakemake 9.27 does: FilePersistence._record_path."""
    folder = run.folder.parent / ".snakemake" / "incomplete"
    folder.mkdir(parents=True, exist_ok=True)
    name = base64.urlsafe_b64encode(f"{run.path}/{file}".encode()).decode()
    parts = [name[i : i + 254] for i in range(0, len(name), 254)]
    path = folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"external_jobid": number}))


def locked(run):
    folder = run.folder.parent / ".snakemake" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0.output.lock").write_text(f"{run.path}/summary.json\n")


def job_of(run, rule, name):
    return next(job for job in jobs_of(run) if (job.rule, job.name) == (rule, name))


def log_lines(run, job, *lines):
    path = run.folder / job.log
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


INFO = "2026-11-25 14:30:00,123 INFO simulation, segment 1 of 3: 5 of 1,000 ms"


@pytest.fixture
def begun(make_run, monkeypatch):
    """A run with one segment made as by snakemake and one by hand; the working directory is snakemake's."""
    run = make_run({**QUICK, "simulation.record.neurons": [0, 150], "simulation.record.synapses": []})
    build_blocks(run, range(run.n_blocks))
    for segment in range(2):
        simulate_segment(run, segment)
    for job in jobs_of(run):
        if job.rule == "network" or (job.rule, job.name) == ("simulation", "0"):
            manifests.write(run, job, time.time())
    monkeypatch.chdir(run.folder.parent)
    return run


def test_a_job_is_done_once_it_has_a_manifest_and_every_file_of_it(begun):
    done = {f"network {block}": "done" for block in range(4)}
    assert states(begun) == done | {"simulation 0": "done"}, "all shards of the second segment exist as well, but without a manifest"
    assert "segments: 0 done, 1-2 waiting" in status.as_text(status.look(begun))
    (begun.folder / job_of(begun, "simulation", "0").files[-1]).unlink()
    assert states(begun) == done | {"simulation 0": "lost"}
    assert "was done, but files are missing" in status.as_text(status.look(begun))


def test_results_of_another_configuration_are_not_counted(begun):
    other = begun.model_copy(update={"network": begun.network.model_copy(update={"seed": 2})})
    assert {state for job, state in states(other).items() if job.startswith(("network", "simulation"))} <= {"waiting"}


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([INFO], "unclear"),
        ([INFO, "2026-11-25 14:30:01,001 ERROR rank 0: out of memory"], "failed"),
        (["2026-11-25 14:30:01,001 CRITICAL rank 0 failed", "Traceback (most recent call last):", "ValueError: x"], "failed"),
        ([INFO, "rank 1 (process 4711) on node7 died first, without an error message: probably killed"], "failed"),
        (["2026-11-25 14:30:01,001 ERROR rank 0: out of memory", INFO], "unclear"),  # a second attempt
        ([], "unclear"),
    ],
    ids=["progress", "error", "traceback", "killed rank", "error before", "empty"],
)
def test_the_end_of_a_log_tells_how_a_job_without_result_ended(begun, lines, state):
    job = job_of(begun, "simulation", "2")
    log_lines(begun, job, *lines)
    assert states(begun)["simulation 2"] == state
    if lines and "CRITICAL" in lines[0]:
        assert "simulation 2: rank 0 failed: ValueError: x (" in status.as_text(status.look(begun))
    later = time.time() + status.SIGN_OF_LIFE_S + 10
    assert states(begun, later)["simulation 2"] == ("failed" if state == "failed" else "ended")
    old = (begun.folder / "config.json").stat().st_mtime - 10
    os.utime(begun.folder / job.log, (old, old))
    assert "simulation 2" not in states(begun), "of a call before the last start: it waits again"


def test_a_marked_job_runs_while_snakemake_holds_its_lock_and_gives_signs_of_life(begun):
    """A job with a marker is not done even if all of its files exist: snakemake would run it again."""
    now = time.time()
    marker(begun, job_of(begun, "simulation", "0").made)
    assert states(begun)["simulation 0"] == "unclear"
    assert states(begun, now + 1000)["simulation 0"] == "ended"
    locked(begun)
    assert states(begun)["simulation 0"] == "running"
    assert states(begun, now + 1000)["simulation 0"] == "unclear"
    log_lines(begun, job_of(begun, "simulation", "0"), INFO)
    os.utime(begun.folder / job_of(begun, "simulation", "0").log, (now + 990, now + 990))
    found = next(job for job in status.look(begun, now + 1000).jobs if job.state == "running")
    assert (found.line, found.age_s) == (INFO.split(" INFO ")[1], 10.0)


def test_slurm_is_asked_of_jobs_that_are_submitted(begun, tmp_path, monkeypatch):
    jobs = [job for job in jobs_of(begun) if job.stage == "features"][:4]
    for number, job in enumerate(jobs):
        marker(begun, job.made, str(100 + number))
    locked(begun)
    monkeypatch.setenv("PATH", "/nowhere")
    without = status.look(begun)
    assert [job.state for job in without.jobs if job.state != "waiting" and job.rule.startswith("features.")] == ["queued"] * 4
    assert "the state of submitted jobs is unknown: squeue not found" in status.as_text(without)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "squeue").write_text("#!/bin/sh\necho 100 PENDING; echo 101 RUNNING; echo 102 COMPLETING; echo 9 PENDING\n")
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    asked = status.look(begun)
    found = [job.state for job in asked.jobs if job.state != "waiting" and job.rule.startswith("features.")]
    assert found == ["queued", "running", "running", "unclear"]
    assert asked.notes == ()


def test_many_jobs_of_a_state_are_counted_and_ten_are_shown(begun):
    locked(begun)
    for job in jobs_of(begun):
        if job.stage == "features":
            marker(begun, job.made)
    text = status.as_text(status.look(begun))
    assert len(re.findall(r"^  features\.\w+ \d-\d: no output yet \(\d+ s ago\)$", text, re.M)) == 10
    assert "and 2 more (--json lists all)" in text


def test_where_nothing_is_known_of_snakemake_that_is_said(begun, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["status", begun.path]) == 0
    assert "no .snakemake folder of this run found, so running jobs are unknown" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "none"):
        assert cli.main(["status", str(folder)]) == 2
        assert f"{folder} is not a run: it has no config.json" in capsys.readouterr().err


def test_looking_loads_no_stage():
    code = "import sys, spikelens.status; sys.exit(bool({'numba', 'torch', 'mpi4py', 'xarray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
