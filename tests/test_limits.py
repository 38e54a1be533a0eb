"""Time limits: jobs that do not fit are refused; running jobs that will not finish exit early."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, fingerprints, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from simulations import MPIEXEC, QUICK

from spikelens import cli, layouts, prepare, slurm, walltime
from spikelens.config import check, load_run, load_runs
from spikelens.errors import ConfigError, SpikelensError
from spikelens.jobs import work_of
from spikelens.limits import Deadline, minutes_to_request, process_started
from spikelens.network.build import build_blocks
from spikelens.places import place_of
from spikelens.speeds import LEAST_MIN, SAFETY, job_seconds, runtime_min, shipped

MILLION = {
    "network.neurons": 1_000_000,
    "network.populations.E.count": 800_000,
    "network.populations.I.count": 200_000,
    "network.block_size": 20_000,
    "simulation.chunk_neurons": 1_000,
    "simulation.duration_s": 12,
    "simulation.segment_s": 10,
    **{f"network.connections.{key}.p": 0.0001 for key in ("E->E", "E->I", "I->E")},
}
"""A segment of 10 s takes about a minute and a half on two ranks; one of 1 s, about 30 s."""


def run_of(folder, changes=None):
    return load_runs(small_config(folder, changes))[0]


# --- requested resources ------------------------------------------------------------------------------------------------


def test_a_job_requests_three_times_the_expected_time_plus_ten_minutes_up_to_the_limit(tmp_path):
    run, limited = run_of(tmp_path, MILLION), run_of(tmp_path, {**MILLION, "cluster.limit_min": 12})
    for rule in (work.rule for work in work_of(run)):
        asked = runtime_min(run, rule)
        assert 60 * (asked - LEAST_MIN - 1) < SAFETY * job_seconds(run, rule, shipped()) <= 60 * (asked - LEAST_MIN)
        assert runtime_min(limited, rule) == min(asked, 12)
    assert runtime_min(run, "simulation") > 12


def test_cluster_options_do_not_change_results(tmp_path, make_run):
    """Fingerprints and stamps are the same, and a run continues with another limit."""
    run, limited = (run_of(tmp_path, changes) for changes in ({}, {"cluster.limit_min": 60, "cluster.gpus": True}))
    assert fingerprints(run) == fingerprints(limited)
    made = make_run()
    build_blocks(made, range(made.n_blocks))
    before = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*") if path.is_file() and path.name != "config.json"}
    changed = made.model_copy(update={"cluster": made.cluster.model_copy(update={"limit_min": 60})})
    prepare.prepare(changed)
    assert load_run(made.folder) == changed
    assert {path: path.stat().st_mtime_ns for path in before} == before


# --- plans --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    """A function that writes a configuration and returns its path."""

    def write(changes):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(small_config(tmp_path, changes), sort_keys=False))
        return str(path)

    return write


def fitting(run, limit_min, seconds_of):
    """All valid segment_s below the configured one that take at most half of the limit."""
    found = []
    for seconds in range(1, run.simulation.segment_s):
        other = run.model_copy(update={"simulation": run.simulation.model_copy(update={"segment_s": seconds})})
        if not list(check(other)) and seconds_of(other, "simulation") <= 30 * limit_min:
            found.append(seconds)
    return found


@settings(max_examples=60, deadline=None)
@given(
    segments=st.integers(1, 12),
    window_s=st.integers(1, 6),
    chunk_ms=st.sampled_from([1000, 1500, 2000, 3000]),
    duration_s=st.integers(10, 400),
    block_size=st.sampled_from([5, 10, 50]),
    pace=st.floats(0.5, 100.0),
)
def test_the_suggested_segment_is_the_longest_valid_one_that_fits(
    tmp_path_factory, segments, window_s, chunk_ms, duration_s, block_size, pace
):
    """Also if short segments would give too many files, or chunks and windows allow only few segments."""
    segment_s = segments * math.lcm(window_s, chunk_ms // math.gcd(chunk_ms, 1000))
    changes = {"simulation.segment_s": segment_s, "simulation.duration_s": max(duration_s, segment_s), "simulation.chunk_ms": chunk_ms}
    changes |= {"network.block_size": block_size, "simulation.chunk_neurons": block_size}
    changes |= {"features.omega_pairs.window_s": window_s, "features.omega_synapses.window_s": window_s}
    changes |= {"training.start_s": 0, "models.autoencoder.sequences": 20, "cluster.limit_min": 1}
    changes |= {f"models.{name}.history": 2 for name in ("tft_population", "tft_neuron")}
    try:
        run = run_of(tmp_path_factory.getbasetemp(), changes)
    except ConfigError:
        return

    def seconds_of(run, rule):
        return 5.0 + pace * run.simulation.segment_s / run.simulation.ranks

    verdict = walltime.judge(run, seconds_of)
    assert verdict.fits == (seconds_of(run, "simulation") <= 30)
    if not verdict.fits:
        assert verdict.segment_s == max(fitting(run, 1, seconds_of), default=None)
        if verdict.segment_s is None and verdict.ranks is not None:
            assert 5.0 + pace * segment_s / verdict.ranks <= 30 < 5.0 + pace * segment_s / (verdict.ranks - 1)


def test_a_segment_that_does_not_fit_is_refused_with_one_that_fits(config, capsys):
    path = config({**MILLION, "cluster.limit_min": 2})
    assert cli.main(["check", path]) == 2
    message = capsys.readouterr().err
    assert "simulation.segment_s = 10: a segment on 2 ranks is expected to take" in message
    assert "more than half of the limit, 2 min (cluster.limit_min)" in message
    named = int(message.split("(cluster.limit_min); ")[1].split(" fits")[0])
    assert 0 < named < 10
    assert cli.main(["check", config({**MILLION, "cluster.limit_min": 2, "simulation.segment_s": named})]) == 0
    assert cli.main(["check", config({**MILLION, "cluster.limit_min": 2, "simulation.segment_s": named + 1})]) == 2


def test_plan_accepts_a_limit_and_shows_what_does_not_fit(config, capsys):
    path = config(MILLION)
    assert cli.main(["plan", path]) == 0
    assert "limit of" not in capsys.readouterr().out
    assert cli.main(["plan", path, "--limit-min", "2"]) == 2
    refused = capsys.readouterr()
    assert "and does not fit" in refused.out
    assert "cannot be run:\n  simulation.segment_s = 10:" in refused.err
    assert cli.main(["plan", path, "--limit-min", "60"]) == 0
    assert "limit of 60 min: a segment is expected to need" in capsys.readouterr().out
    assert cli.main(["plan", path, "--limit-min", "2", "--json"]) == 2
    run = yaml.safe_load(capsys.readouterr().out)["runs"][0]
    assert (run["limit"]["fits"], run["limit"]["limit_min"]) == (False, 2)
    assert 0 < run["limit"]["segment_s"] < 10
    assert {row["runtime_min"] for row in run["rules"]} == {2}


def test_if_no_segment_fits_a_sufficient_number_of_ranks_is_suggested(config, capsys, tmp_path):
    limited = {**MILLION, "cluster.limit_min": 1, "features.omega_synapses.window_s": 5}
    assert cli.main(["check", config(limited)]) == 2
    found = re.search(r"no shorter segment fits; use simulation.ranks: (\d+), with which", capsys.readouterr().err)
    assert found
    for ranks, code in ((int(found[1]), 0), (int(found[1]) - 1, 2)):
        assert cli.main(["check", config({**limited, "simulation.ranks": ranks})]) == code
    run = run_of(tmp_path, {**limited, "network.block_size": 20_000, "simulation.segment_s": 5})
    with pytest.raises(
        ConfigError, match=r"one rank for each of the 50 blocks is not enough; use smaller blocks .*limit of at least 2 min"
    ):
        walltime.refuse_unfit([run], "x", lambda run, rule: 40.0 if rule == "simulation" else 1.0)


def test_a_training_run_that_does_not_fit_causes_a_warning(config, capsys):
    path = config({"models.autoencoder.epochs": 10_000_000})
    assert cli.main(["plan", path, "--limit-min", "10"]) == 0
    assert re.search(
        r"^  models.autoencoder is expected to take \S+ min, more than half of the limit of 10 min", capsys.readouterr().out, re.M
    )
    assert cli.main(["plan", path, "--limit-min", "10000000"]) == 0
    assert "resumes from its last epoch" not in capsys.readouterr().out


def test_other_jobs_that_do_not_fit_are_refused_with_their_rule(tmp_path):
    run = run_of(tmp_path, {"cluster.limit_min": 10})
    for rule in ("network", "features.traces", "features.omega_pairs", "explanation", "report"):
        with pytest.raises(ConfigError, match=f"a job of {rule} is expected to take 6 min") as caught:
            walltime.refuse_unfit([run, run], "x", lambda _, other, rule=rule: 360.0 if other == rule else 1.0)
        assert len(caught.value.problems) == 1
    walltime.refuse_unfit([run], "x", lambda *_: 300.0)


def test_measured_times_take_precedence_over_the_table_of_speeds(make_run, capsys):
    run = make_run()
    folder = place_of(run, "simulation") / "benchmarks"
    folder.mkdir(parents=True)
    (folder / "0.tsv").write_text("s\th:m:s\tmax_rss\n100\t0:01:40\t500\n")
    path = run.folder / "again.yaml"
    path.write_text(yaml.safe_dump(run.model_dump(mode="json", exclude={"path"}), sort_keys=False))
    assert cli.main(["plan", str(path), "--limit-min", "3"]) == 2
    assert "a segment on 2 ranks is expected to take 1.67 min" in capsys.readouterr().err
    assert cli.main(["plan", str(path), "--limit-min", "4"]) == 0


@pytest.mark.slow
def test_snakemake_refuses_such_a_run_before_any_job_starts(config, tmp_path):
    path = config({**MILLION, "cluster.limit_min": 2})
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(tmp_path)]
    refused = subprocess.run([*command, "--configfile", path, "--cores", "2"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "simulation.segment_s = 10: a segment on 2 ranks is expected to take" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "results").exists()


# --- SLURM's times ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),  # the six forms of sbatch(1), --time
        ("30:00", 30),
        ("1:30:59", 90),
        ("12:00:00", 720),
        ("2-12", 3600),
        ("1-00:30", 1470),
        ("1-00:00:00", 1440),
        ("7-12:34:56", 10_834),
        ("infinite", None),
        ("UNLIMITED", None),
    ],
)
def test_slurm_times_are_parsed(text, minutes):
    assert slurm.minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "n/a", "1h", "-5", "1:2:3:4", "1-", "1.5"])
def test_invalid_slurm_times_are_refused(text):
    with pytest.raises(SpikelensError, match="not a SLURM time"):
        slurm.minutes(text)


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """A function that makes a fake `sinfo` the only command on the path."""

    def put(body):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "sinfo").write_text(f"#!/bin/sh\n{body}\n")
        (folder / "sinfo").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


def test_the_limit_of_a_partition_is_read_from_slurm(config, sinfo, capsys):
    """sinfo prints one line per node type; for an unknown partition it prints nothing and exits with 0."""
    sinfo('case "$*" in *"-- "*) ;; *"--partition cpu "*) echo 2:00:00; echo 2:00:00;; *--partition*) ;; *) echo cpu; echo gpu;; esac')
    path = config(MILLION)
    assert cli.main(["plan", path, "--partition", "cpu"]) == 0
    assert "limit of 120 min: a segment" in capsys.readouterr().out
    assert cli.main(["plan", path, "--partition", "cqu"]) == 2
    assert "--partition cqu: no such partition; available: cpu, gpu" in capsys.readouterr().err


def test_failures_of_slurm_commands_are_reported(config, sinfo, capsys, monkeypatch):
    path = config(MILLION)
    for body, message in (
        (
            "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1",
            "sinfo failed with exit code 1: slurm_load_partitions",
        ),
        ("echo 0:30", "its time limit is less than a minute (0:30)"),
        ("echo soon", "'soon' is not a SLURM time"),
    ):
        sinfo(body)
        assert cli.main(["plan", path, "--partition", "cpu"]) == 2
        assert message in capsys.readouterr().err
    sinfo("echo infinite")
    assert cli.main(["plan", config({**MILLION, "cluster.limit_min": 2}), "--partition", "cpu"]) == 0, "it has no limit"
    capsys.readouterr()
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["plan", path, "--partition", "cpu"]) == 2
    assert "sinfo not found" in capsys.readouterr().err


# --- a running job near its limit ---------------------------------------------------------------------------------------


class FakeTime:
    def __init__(self):
        self.s = 0.0

    def __call__(self):
        return self.s


def work(deadline, now, step_s, total=60, before_s=0.0):
    """Work in steps; return the number of steps done when the deadline raised, and the message."""
    now.s += before_s
    for done in range(1, total + 1):
        now.s += step_s
        try:
            deadline.refuse_if_late(done, total, "segment 3", "s", "ask for {minutes}")
        except SpikelensError as error:
            return done, str(error)
    return total, None


@pytest.mark.parametrize("before_s", [0.0, 60.0])
@pytest.mark.parametrize("after_s", [0.0, 90.0])
def test_only_work_that_takes_too_long_is_refused_as_soon_as_its_speed_is_known(before_s, after_s):
    """A limit of ten minutes with a margin of 30 s; sixty steps, with work before and after."""
    for step_s in (0.5, 5.0, 6.0, 7.0, 7.9, 8.1, 9.4, 9.6, 20.0, 60.0):
        now = FakeTime()
        done, message = work(Deadline(10, 0.0, after_s, now), now, step_s, before_s=before_s)
        fits = before_s + 60 * step_s + after_s <= 570
        assert (message is None) == fits, step_s
        if not fits:
            assert (done - 1) * step_s >= 30 > (done - 2) * step_s, "the speed is known after half a minute"
            assert f"segment 3: {done} of 60 s in " in message
            needed = (before_s + 60 * step_s + after_s) / 60
            assert f"the job needs {needed:.3g} min, its limit is 10 min" in message
            assert minutes_to_request(needed) == int(message.rsplit(" ", 1)[1])
            again = Deadline(minutes_to_request(needed), 0.0, after_s, fresh := FakeTime())
            assert work(again, fresh, step_s, before_s=before_s)[1] is None, "the suggested time is enough"


def test_a_slow_first_step_due_to_compilation_is_ignored():
    now = FakeTime()
    deadline = Deadline(10, 0.0, now=now)
    now.s = 200.0
    deadline.refuse_if_late(1, 60, "segment 3", "s", "")
    assert work(deadline, now, 1.0)[1] is None


def test_the_speed_is_measured_separately_for_each_segment():
    now = FakeTime()
    deadline = Deadline(10, 0.0, now=now)
    for segment in range(5):
        for done in range(1, 61):
            now.s += 1.0
            deadline.refuse_if_late(done, 60, f"segment {segment}", "s", "")
    assert now.s == 300.0


def test_work_that_does_not_fit_into_the_remaining_time_is_not_started():
    now = FakeTime()
    deadline = Deadline(10, 0.0, 30.0, now)
    now.s = 440.0
    deadline.refuse_if_too_short(100.0, "epoch 5")
    with pytest.raises(SpikelensError, match=r"^epoch 5 \(needs 2.18 min; 2.17 min left of 10 min, --limit-min\)$"):
        deadline.refuse_if_too_short(101.0, "epoch 5")


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="the start of a process is read from /proc")
def test_the_time_of_a_job_is_measured_from_the_start_of_its_process():
    code = "import time; time.sleep(1.5); from spikelens.limits import process_started; print(time.monotonic() - process_started())"
    begun = time.monotonic()
    age = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 1.5 <= age <= time.monotonic() - begun + 0.02
    assert process_started() < time.monotonic()


@pytest.mark.parametrize("ranks", [None, 2])
def test_a_segment_that_will_not_finish_in_time_stops_with_a_message_and_writes_nothing(make_run, tmp_path, ranks):
    run = make_run({**QUICK, "simulation.duration_s": 120, "simulation.segment_s": 60})
    build_blocks(run, range(run.n_blocks))
    ours = [sys.executable, "-m", "spikelens", "simulate", run.path, "--segments", "0", "--log", str(tmp_path / "log")]
    command = ours if ranks is None else [str(MPIEXEC), "-n", str(ranks), *ours, "--ranks", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = set(run.folder.rglob("*"))

    def simulate(limit_min):
        return subprocess.run([*command, "--limit-min", str(limit_min)], capture_output=True, text=True, timeout=120, env=environment)

    late = simulate(0.001)
    assert late.returncode == 2, late.stderr
    assert "simulation, segment 1 of 2: " in late.stderr
    assert "its limit is 0.001 min (--limit-min). The job stops now, and nothing of the segment is written." in late.stderr
    assert "--set-resources simulate:runtime=1;" in late.stderr
    assert "Traceback" not in late.stderr
    assert "at this speed the job needs" in (tmp_path / "log").read_text()
    assert set(run.folder.rglob("*")) == before
    assert simulate(60).returncode == 0
    assert all(path.is_file() for path in layouts.layout(run, "spikes").shard_paths(segments=[0]))
