"""A folder with the code, a configuration and results, as a user's clone has them, and what a dry run plans in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import yaml
from conftest import REPOSITORY, small_config, with_keys

SNAKEMAKE = Path(sys.executable).with_name("snakemake")
RUN = "results/small"
TWO_BLOCKS = {
    "network.block_size": 100,
    "simulation.chunk_neurons": 100,
    "simulation.record.neurons": [5, 170],
    "run.results": "results",
}


class Project:
    """A folder with the code, a configuration and results, as a user's clone has them."""

    def __init__(self, folder: Path, code: Path = REPOSITORY / "src") -> None:
        self.folder, self.code = folder, code

    @classmethod
    def new(cls, folder: Path, changes=None) -> Project:
        for name in ("src", "workflow", "profiles"):
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(REPOSITORY / "Snakefile", folder)
        (folder / "README.md").write_text("A readme.\n")
        project = cls(folder)
        project.configure(small_config(folder, {**TWO_BLOCKS, **(changes or {})}))
        return project

    def copy(self, folder: Path) -> Project:
        shutil.copytree(self.folder, folder, symlinks=True)  # keeps modification times
        return Project(folder, self.code)

    def with_own_code(self) -> Project:
        """The same project, run by the copy of the code in its own folder."""
        return Project(self.folder, self.folder / "src")

    def configure(self, content) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def change(self, changes) -> None:
        self.configure(with_keys(yaml.safe_load((self.folder / "config.yaml").read_text()), changes))

    def command(self, *arguments: str):
        environment = {**os.environ, "PYTHONPATH": str(self.code)}
        return {"args": [str(SNAKEMAKE), "--cores", "2", *arguments], "cwd": self.folder, "env": environment, "text": True}

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(**self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)

    def run(self, *arguments: str) -> str:
        finished = self.snakemake(*arguments)
        assert finished.returncode == 0, finished.stdout[-4000:]
        return finished.stdout

    def plan(self, *targets: str) -> set[str]:
        """Jobs that would run, like "simulation 0", "features.traces 1 0", "tft_neuron 1"."""
        finished = self.snakemake(*targets, "--dry-run")
        assert finished.returncode == 0, finished.stdout[-4000:]
        return planned(finished.stdout)

    def spikelens(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = self.command()
        command["args"] = [sys.executable, "-m", "spikelens", *arguments]
        return subprocess.run(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)

    def verify(self) -> None:
        """Every file is there and whole, and nothing else."""
        finished = self.spikelens("verify", RUN)
        assert finished.returncode == 0, finished.stdout[-3000:]

    @property
    def results(self) -> Path:
        return self.folder / RUN

    def times(self, pattern: str) -> dict[str, int]:
        return {str(path.relative_to(self.folder)): path.stat().st_mtime_ns for path in self.results.glob(pattern) if path.is_file()}


def planned(output: str) -> set[str]:
    jobs = set()
    for message in re.findall(r"^ *Job \d+: (.*)$", output, flags=re.MULTILINE):
        stage = message.split(":")[0]
        if stage == "models":
            jobs.add(re.sub(r"models: (\w+), seed (\d+).*", r"\1 \2", message))
        elif stage == "features":
            jobs.add(re.sub(r"features: (\w+), segment (\d+), block (\d+).*", r"features.\1 \2 \3", message))
        elif stage == "explanation" and (method := re.match(r"explanation: (\w+), method, of ", message)):
            jobs.add(method[1])
        elif stage != "complete":
            jobs.add(" ".join([stage, *re.findall(r"(?:segment|block) (\d+)", message)]))
    return jobs


SEGMENTS, BLOCKS = range(3), range(2)
NETWORK = {f"network {b}" for b in BLOCKS}
SIMULATION = {f"simulation {s}" for s in SEGMENTS}
FEATURE_NAMES = ("spike_counts", "traces", "omega_pairs", "omega_synapses")


def of_features(*names: str, segments=SEGMENTS) -> set[str]:
    """The jobs of features: one for each segment computes both blocks."""
    return {f"features.{name} {segment} 0" for name in names for segment in segments}


FEATURES = of_features(*FEATURE_NAMES)
TFTS = {"tft_population 1", "tft_neuron 1"}
MODELS = {"autoencoder 1", *TFTS}
METHODS = {"attention", "rate_correlation", "omega"}
JUDGED = {"explanation", "report"}
END = METHODS | JUDGED
CAUSAL = {"omega"} | JUDGED
"""What reads causal components."""


def finish(folder: Path) -> None:
    """Run a new project from its start to its end."""
    project = Project.new(folder)
    assert project.plan() == NETWORK | SIMULATION | FEATURES | MODELS | END
    assert not (project.folder / "results").exists(), "a dry run writes nothing"
    project.run()


def contents(project) -> dict[Path, bytes]:
    """Every file of the results but those that say which configuration is current."""
    files = [path for path in project.results.rglob("*") if path.is_file() and "current" not in path.relative_to(project.results).parts]
    return {path: path.read_bytes() for path in files if path.name not in ("config.json", ".lock") and path.suffix != ".log"}


def processes_of(project):
    """Processes that work in a project's folder."""
    folders = [path.resolve() for path in Path("/proc").glob("[0-9]*/cwd") if os.access(path, os.R_OK)]
    return [folder for folder in folders if folder == project.folder.resolve()]


def wait_for(condition, seconds=120, every_s=0.02):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(every_s)


def kill_all(job):
    """Stop the launcher and its processes, then send SIGKILL to all; return whether they were working."""
    at_work = job.poll() is None
    stopped = []
    while found := [process for process in [job, *job.children(recursive=True)] if process not in stopped] if at_work else []:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped += found
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert not psutil.wait_procs(stopped, timeout=10)[1]
    return at_work
