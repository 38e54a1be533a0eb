"""The Snakefile as a module of a user's own, in the layout that snakedeploy writes: it plans, refuses and computes the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, small_config

from spikelens import places

pytestmark = pytest.mark.slow

SNAKEFILE = f"""
from snakemake.utils import min_version

min_version("6.10.0")


configfile: "config/config.yaml"


# declare spikelens as a module
module spikelens:
    snakefile:
        "{REPOSITORY}/Snakefile"
    config:
        config


# use all rules from spikelens
use rule * from spikelens
"""
COUNTS = {"simulation.ranks": 1, "network.block_size": 100, "simulation.chunk_neurons": 100, "run.results": "results"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as snakedeploy writes it, with a configuration of two blocks and three segments."""
    for name in ("workflow", "config"):
        (tmp_path / name).mkdir()
    (tmp_path / "workflow/Snakefile").write_text(SNAKEFILE)
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(small_config(tmp_path, COUNTS), sort_keys=False))
    return tmp_path


def call(folder: Path, *command: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    command = (sys.executable, "-m", *command)
    done = subprocess.run(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    assert done.returncode == code, done.stdout[-4000:]
    assert "Traceback" not in done.stdout
    return done.stdout


def snakemake(folder: Path, *arguments: str, code: int = 0) -> str:
    return call(folder, "snakemake", "--cores", "2", *arguments, code=code)


def counts(shown: str) -> dict[str, int]:
    """Jobs of each rule in a dry run's statistics."""
    table = shown.split("Job stats:")[1].split("total")[0]
    return {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


ALL = {
    "build_network": 2,
    "simulate": 3,
    "compute_features": 12,
    "train": 3,
    "infer": 3,
    "explain": 1,
    "make_report": 1,
    "all": 1,
}


def test_a_module_plans_what_the_workflow_plans_and_writes_nothing(folder):
    assert counts(snakemake(folder, "--dry-run")) == ALL
    assert counts(call(folder, "snakemake", "-s", f"{REPOSITORY}/Snakefile", "-n")) == ALL
    assert not (folder / "results").exists()


def test_what_a_module_simulates_is_what_the_workflow_asks_for(folder):
    """Also where the user's Snakefile uses rules in two statements, and has an `onstart:` of its own, which is kept."""
    snakefile = folder / "workflow/Snakefile"
    more = 'use rule simulate from spikelens with:\n    priority: 5\n\n\nonstart:\n    print("mine", "has started")\n'
    snakefile.write_text(f"{SNAKEFILE}\n\n{more}")
    shown = snakemake(folder, "simulation")
    assert len(re.findall("Finished jobid: .*(?:build_network|simulate)", shown)) == 5
    assert shown.count("mine has started") == 1
    assert (folder / "results/small/config.json").is_file()
    assert (folder / "results/small/current/spikes.zarr/zarr.json").is_file()
    assert "Nothing to be done" in call(folder, "snakemake", "-s", f"{REPOSITORY}/Snakefile", "-n", "simulation")
    assert "Nothing to be done" in call(folder, "spikelens", "run", "--dry-run", "--until", "simulation")
    assert "results/small" in call(folder, "spikelens", "status")
    with places.hold(folder / "results/small"):
        assert "another call is working on this run" in snakemake(folder, "features", code=2)


def test_numbers_and_base_are_read_as_everywhere(folder):
    """Snakemake's own reader takes 0010 for 8 and 1e-4 for text, and knows no `base`."""
    (folder / "config/config.yaml").rename(folder / "config/below.yaml")
    (folder / "config/config.yaml").write_text("base: below.yaml\nmodels: {tft_neuron: {learning_rate: 1e-4}}\nnetwork: {seed: 0010}\n")
    assert counts(snakemake(folder, "--dry-run")) == ALL
    shown = snakemake(folder, "network")
    assert "network: block 1 of results/small" in shown
    kept = yaml.safe_load((folder / "results/small/config.json").read_text())
    assert kept["models"]["tft_neuron"]["learning_rate"] == 0.0001
    assert kept["network"]["seed"] == 10


def test_a_config_that_the_snakefile_makes_counts(folder):
    snakefile = folder / "workflow/Snakefile"
    changed = 'config["simulation"]["duration_s"] = 8\n\n\nmodule spikelens'
    snakefile.write_text(SNAKEFILE.replace("module spikelens", changed))
    assert counts(snakemake(folder, "--dry-run")) == {**ALL, "simulate": 4, "compute_features": 16}
    shown = snakemake(folder, "--dry-run", "--config", 'set=["simulation.duration_s=10"]')
    assert counts(shown)["simulate"] == 5
    snakefile.write_text(SNAKEFILE.replace("module spikelens", 'config["netwrk"] = {}\n\n\nmodule spikelens'))
    refused = snakemake(folder, "--dry-run", code=2)
    assert "config of the module cannot be run:" in refused
    assert "netwrk = {}: unknown key; did you mean network?" in refused


def test_a_module_is_refused_only_for_problems_of_its_targets(folder):
    """Also where the Snakefile makes the config: the check comes after snakemake has left the module."""
    snakefile = folder / "workflow/Snakefile"
    changed = 'config["features"]["spike_counts"]["step_ms"] = 7\n\n\nmodule spikelens'
    snakefile.write_text(SNAKEFILE.replace("module spikelens", changed))
    assert counts(snakemake(folder, "--dry-run", "simulation")) == {"build_network": 2, "simulate": 3, "simulation": 1}
    for targets in ((), ("features",), ("simulation", "report")):
        refused = snakemake(folder, "--dry-run", *targets, code=2)
        assert "config of the module cannot be run:" in refused
        assert "features.spike_counts.step_ms = 7: expected a divisor of simulation.chunk_ms = 1000" in refused


def test_two_runs_stand_side_by_side_as_modules(folder):
    second = SNAKEFILE.split("# declare")[1].replace("module spikelens", "module other").replace("from spikelens", "from other as other_*")
    second = second.replace("        config\n", '        {**config, "run": {"name": "other", "results": "results"}}\n')
    (folder / "workflow/Snakefile").write_text(f"{SNAKEFILE}\n# declare{second}")
    shown = snakemake(folder, "network", "other_network")
    assert len(re.findall("Finished jobid: .*build_network", shown)) == 4
    assert {path.parent.name for path in folder.glob("results/*/config.json")} == {"small", "other"}


def test_a_prefix_is_refused_since_no_job_would_write_there(folder):
    (folder / "workflow/Snakefile").write_text(SNAKEFILE.replace("    config:\n", '    prefix:\n        "there"\n    config:\n'))
    assert "set run.results in the module's config" in snakemake(folder, "--dry-run", code=2)
