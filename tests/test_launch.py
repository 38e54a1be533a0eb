"""`spikelens run`: it calls snakemake, passes on exit code and signals, and writes the report at the end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, small_config
from snakemake.cli import parse_config
from snakemake.settings.types import ConfigSettings
from snakemake_interface_executor_plugins.utils import format_cli_arg

from spikelens.config.load import load
from spikelens.launch import as_config

FAKE = """
import json, os, signal, sys, time
with open("calls.jsonl", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if "WAIT" in os.environ:
    def end(number, _):
        time.sleep(0.3)
        open("ended", "w").close()
        sys.exit(40 + number)
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    open("started", "w").close()
    time.sleep(30)
if os.environ.get("CODE") == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(int(os.environ.get("CODE", "0")))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a configuration and a fake snakemake that prints its arguments."""
    (tmp_path / "fake/snakemake").mkdir(parents=True)
    (tmp_path / "fake/snakemake/__init__.py").touch()
    (tmp_path / "fake/snakemake/__main__.py").write_text(FAKE)
    (tmp_path / "config.yaml").write_text("")
    return tmp_path


def command(folder: Path, *arguments: str, **environment: str):
    path = f"{folder / 'fake'}:{REPOSITORY / 'src'}"
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    return {"args": [sys.executable, "-m", "spikelens", *arguments], "cwd": folder, "env": environment}


def spikelens(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(folder, *arguments, **environment), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


SNAKEFILE = ["--snakefile", str(REPOSITORY / "Snakefile")]
PROFILE = ["--workflow-profile", str(REPOSITORY / "profiles/default")]
CONFIGURATION = ["--config", 'configuration="config.yaml"']
HTML = ["--report", "results/reference/report.html", "--cores", "1", "--nolock"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [[*PROFILE, *CONFIGURATION], [*HTML, *CONFIGURATION]]),
        (["config.yaml", "--cores", "2"], [[*PROFILE, "--cores", "2", *CONFIGURATION], [*HTML, *CONFIGURATION]]),
        (["--until", "simulation"], [[*PROFILE, "simulation", *CONFIGURATION]]),
        (["--dry-run"], [[*PROFILE, "--dry-run", *CONFIGURATION]]),
        (["--profile", "mine", "--until", "report"], [["--workflow-profile", "mine", "report", *CONFIGURATION]]),
        (
            ["--set", "run.name=reference", "--set", "drive.current_mv={E: 1.0}"],
            [
                [*PROFILE, *CONFIGURATION, 'set=["run.name=reference", "drive.current_mv={E: 1.0}"]'],
                [*HTML, *CONFIGURATION, 'set=["run.name=reference", "drive.current_mv={E: 1.0}"]'],
            ],
        ),
    ],
    ids=["all", "cores", "until", "dry run", "profile", "set"],
)
def test_snakemake_is_called_with_the_requested_arguments(folder, arguments, expected):
    (folder / "mine").mkdir()
    finished = spikelens(folder, "run", *arguments)
    assert finished.returncode == 0, finished.stdout
    assert re.search(r"config.yaml can be run( up to \w+)?: results/reference", finished.stdout)
    assert calls(folder) == [[*SNAKEFILE, *call] for call in expected]


def test_a_snakefile_and_profile_in_the_working_folder_take_precedence(folder):
    (folder / "Snakefile").touch()
    (folder / "profiles/default").mkdir(parents=True)
    assert spikelens(folder, "run", "--dry-run").returncode == 0
    assert calls(folder) == [["--snakefile", "Snakefile", "--workflow-profile", "profiles/default", "--dry-run", *CONFIGURATION]]


@pytest.mark.parametrize(("code", "expected"), [("1", 1), ("7", 7), ("killed", 128 + signal.SIGKILL)])
def test_the_exit_code_of_a_failed_snakemake_is_returned_and_no_report_is_written(folder, code, expected):
    assert spikelens(folder, "run", CODE=code).returncode == expected
    assert len(calls(folder)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "network.seeds=1"], "network.seeds = 1: unknown key; did you mean seed?"),
        (["none.yaml"], "none.yaml: no such configuration file"),
        (["--profile", "none"], "none: not found, neither in this folder nor in"),
        (["--until", "simulatoin"], "invalid choice: 'simulatoin'"),
    ],
)
def test_errors_are_reported_before_snakemake_starts(folder, arguments, message):
    finished = spikelens(folder, "run", *arguments)
    assert finished.returncode == 2
    assert message in finished.stdout
    assert calls(folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_forwarded_to_snakemake_and_its_exit_is_awaited(folder, number):
    with subprocess.Popen(**command(folder, "run", WAIT="1"), start_new_session=True) as process:
        until = time.monotonic() + 30
        while not (folder / "started").exists() and time.monotonic() < until:
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(timeout=20) == 40 + number
    assert (folder / "ended").exists()
    assert len(calls(folder)) == 1


@pytest.mark.parametrize(
    ("setting", "key", "expected"),
    [
        ("network.seed=2", "network.seed", 2),
        ("drive.current_mv={E: 1.0, I: -2}", "drive.current_mv", {"E": 1.0, "I": -2.0}),
        ("network.connections.E->E.p=0.05", "network.connections.E->E.p", 0.05),
        ("run.name='5'", "run.name", "5"),
        ('run.name="5"', "run.name", "5"),
        ("cluster.srun=$HOME `a` \\ 100%27 é", "cluster.srun", "$HOME `a` \\ 100%27 é"),
    ],
)
def test_set_options_reach_the_jobs_that_snakemake_submits(setting, key, expected, tmp_path):
    """Snakemake repeats its `--config` in the shell command of each job that it submits."""
    (tmp_path / "my file.yaml").touch()
    given = parse_config(as_config(str(tmp_path / "my file.yaml"), [setting]))
    _, *again = shlex.split(format_cli_arg("--config", ConfigSettings(config=given).config_args))
    assert parse_config(again) == given
    assert given["configuration"] == str(tmp_path / "my file.yaml")
    found = load([given["configuration"]], overrides=parse_config(again))[0].model_dump(mode="json")
    for part in key.split("."):
        found = found[part]
    assert found == expected


def test_make_run_accepts_set_options(tmp_path):
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for name in ("envs/requirements.txt", "pyproject.toml", ".venv/.ready"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    shown = subprocess.run(
        ["make", "-n", "run", "CONFIG=mine.yaml", "CORES=2", "SET=models.tft_neuron.learning_rate=1e-4 run.name=b"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "spikelens run mine.yaml --cores 2 --set 'models.tft_neuron.learning_rate=1e-4' --set 'run.name=b'" in shown


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A working folder with a small configuration, for the real snakemake."""
    content = small_config(tmp_path, {"run.results": "results", "simulation.ranks": 1})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return tmp_path


@pytest.mark.slow
def test_run_until_a_stage_and_a_bare_snakemake_take_the_same_keys(small):
    """200 neurons in two blocks instead of four; after that, both commands have nothing to do."""
    given = ["network.block_size=100", "simulation.chunk_neurons=100", "run.name=set"]
    settings = [text for one in given for text in ("--set", one)]
    made = spikelens(small, "run", *settings, "--until", "network", "--cores", "2")
    assert made.returncode == 0, made.stdout
    kept = json.loads((small / "results/set/config.json").read_text())
    assert kept["network"]["block_size"] == 100
    assert len(re.findall("Finished jobid: .*build_network", made.stdout)) == 2
    assert "Nothing to be done" in spikelens(small, "run", "results/set", "--until", "network", "--dry-run").stdout
    bare = [sys.executable, "-m", "snakemake", *SNAKEFILE, "--cores", "2", "--dry-run", "network", "--config", f"set={json.dumps(given)}"]
    options = {**command(small), "args": bare}
    shown = subprocess.run(**options, capture_output=True, text=True, check=True)
    assert "Nothing to be done" in shown.stdout + shown.stderr
