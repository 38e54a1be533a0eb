"""The wheel contains the workflow; with it, two commands in an empty folder produce a report."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, SMALL, made_once

from spikelens.cli import main
from spikelens.config import Config, parse, read_yaml
from spikelens.config.run import ConfigFile

CARRIED = ("Snakefile", "config.yaml", "workflow", "profiles")
IGNORED = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "results", "tests", "docs", "benchmarks")


def install(folder: Path) -> None:
    """Install a wheel, built from the sdist, into an environment with the libraries of the tests."""
    source = folder / "source"
    shutil.copytree(REPOSITORY, source, ignore=IGNORED)
    build = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    call(sys.executable, "-c", build, cwd=source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    archive = next(folder.glob("*.tar.gz"))
    call(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(folder), str(archive), cwd=folder)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv/bin/python"
    call(*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(next(folder.glob("*.whl"))), cwd=folder)
    # a .pth file in that folder, such as that of an editable spikelens, does not count
    (site_packages(folder) / "libraries.pth").write_text(sysconfig.get_path("purelib"))


def call(*command: str, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def site_packages(folder: Path) -> Path:
    return next(folder.glob("venv/lib/python*/site-packages"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """A folder with a virtual environment `venv` that contains the wheel."""
    return made_once(tmp_path_factory, "installed", install)


@pytest.mark.slow
def test_the_wheel_contains_all_files_of_the_workflow_unchanged(installed):
    carried = site_packages(installed) / "spikelens/_workflow"
    ours = [path for name in CARRIED for path in (REPOSITORY / name, *(REPOSITORY / name).rglob("*")) if path.is_file()]
    expected = {path.relative_to(REPOSITORY): path.read_bytes() for path in ours}
    assert {path.relative_to(carried): path.read_bytes() for path in carried.rglob("*") if path.is_file()} == expected
    assert len(expected) > 12


@pytest.mark.slow
def test_init_and_run_in_an_empty_folder_produce_a_report(installed, tmp_path):
    spikelens = str(installed / "venv/bin/spikelens")
    assert "wrote config.yaml" in call(spikelens, "init", ".", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    small = {**SMALL, "simulation.ranks": 1, "run.name": "first"}
    settings = [text for key, value in small.items() for text in ("--set", f"{key}={value}")]
    shown = call(spikelens, "run", "--cores", "2", *settings, cwd=tmp_path)
    assert str(REPOSITORY) not in shown
    report = tmp_path / "results/first/report.html"
    assert shown.splitlines()[-1] == "results/first/report.html"
    assert "data:image" in report.read_text(encoding="utf-8")
    assert "all files are present and intact" in call(spikelens, "verify", "results/first", cwd=tmp_path)


# --- files of `spikelens init` ------------------------------------------------------------------------------------------


def test_the_short_configuration_and_its_commented_lines_are_the_reference_network(tmp_path):
    assert main(["init", str(tmp_path)]) == 0
    text = (tmp_path / "config.yaml").read_text()
    assert parse(ConfigFile, yaml.safe_load(text), "short") == ConfigFile()
    commented = re.sub(r"^# ( *\w+: *|  .*)", r"\1", text.split("\nrun:", 1)[1], flags=re.MULTILINE)
    content = yaml.safe_load(f"run:{commented}")
    assert set(content) >= {"run", "sweep", "network", "simulation", "features", "models"}
    assert content.pop("sweep") == {"network.seed": [1, 2, 3]}
    assert parse(Config, content, "with all lines") == Config()


def test_the_full_configuration_is_the_one_in_the_repository(tmp_path, capsys):
    assert main(["init", str(tmp_path / "new/folder"), "--full", "--profile", "slurm"]) == 0
    folder = tmp_path / "new/folder"
    assert capsys.readouterr().out.splitlines() == [f"wrote {folder}/config.yaml", f"wrote {folder}/profiles/slurm/config.yaml"]
    assert read_yaml(folder / "config.yaml") == read_yaml(REPOSITORY / "config.yaml")
    assert (folder / "profiles/slurm/config.yaml").read_bytes() == (REPOSITORY / "profiles/slurm/config.yaml").read_bytes()


def test_existing_files_are_not_changed(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("run: {name: mine}\n")
    assert main(["init", str(tmp_path), "--profile", "default"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [f"{tmp_path}/config.yaml exists and was not changed", f"wrote {tmp_path}/profiles/default/config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == "run: {name: mine}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["here", "--profile", "slrum"], "--profile slrum: expected one of default, slurm"),
        (["taken"], "taken: expected a folder, found a file; name another folder"),
        (["taken/below"], "taken/below: expected a folder, found a file"),
    ],
)
def test_an_invalid_folder_or_profile_is_refused(arguments, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    assert main(["init", *arguments]) == 2
    assert expected in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
