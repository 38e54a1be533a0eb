"""The workflow's promises: what is run again, and what is not; what a crash costs; what a wrong configuration does.

One small run is finished once, for all workers of a session; every test works on a copy of it, through the `snakemake` that users
call. Plans are read from dry runs. The code is the repository's, which is compiled already; where a test changes it, the copy of it
that lies in the project.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import xarray as xr
import yaml
from conftest import REPOSITORY, made_once, small_config, with_keys

import spikelens
from spikelens import layouts, places
from spikelens.config import load_run, load_runs
from spikelens.jobs import job_of

pytestmark = pytest.mark.slow

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

    def plan(self) -> set[str]:
        """Jobs that would run, like "simulation 0", "features.traces 1 0", "tft_neuron 1"."""
        finished = self.snakemake("--dry-run")
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


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """The finished run. It is shared by all workers, which may look at it at the same time: tests only read it, and copy it else."""
    return Project(made_once(tmp_path_factory, "finished", finish))


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A copy of the finished run, which two ranks made; here one goes on: ranks that wait spin, on cores that others need."""
    project = finished.copy(tmp_path / "project")
    project.change({"simulation.ranks": 1})
    return project


def test_a_second_call_has_nothing_to_do(project):
    before = project.times("**/*")
    assert "Nothing to be done" in project.run()
    assert project.times("**/*") == before


def test_every_file_is_there_and_whole_and_nothing_else(finished):
    finished.verify()


def test_a_finished_run_has_the_files_that_were_planned(finished):
    planned_run = json.loads(finished.spikelens("plan", "--json").stdout)["runs"][0]
    found = [path for path in finished.results.rglob("*") if path.is_file() and "current" not in path.parts]
    files = [path for path in found if path != finished.results / "report.html"]  # snakemake's own
    assert planned_run["files"] == len(files)
    shards = [path for path in files if "c" in path.parts]
    assert 0 < planned_run["shards"] < len(shards), "coordinates have chunks, too"
    assert {row["source"] for row in planned_run["rules"]} == {"measured"}, "its own benchmarks tell how long it takes"


@pytest.mark.parametrize(
    ("changes", "jobs"),
    [
        ({"models.tft_neuron.learning_rate": 0.01}, {"tft_neuron 1", "attention"} | JUDGED),
        ({"models.autoencoder.units": 4}, {"autoencoder 1", "report"}),
        ({"models.tft_population.seeds": [1, 2]}, {"tft_population 2", "report"}),
        ({"models.tft_neuron.bin_ms": 40}, {"tft_neuron 1", "attention", "rate_correlation"} | JUDGED),
        ({"report.window_ms": 40}, {"report"}),
        ({"features.spike_counts.step_ms": 25}, of_features("spike_counts") | {"report"}),
        ({"features.traces.tau_ms": 10.0}, of_features("traces") | {"report"}),
        ({"features.omega_pairs.window_s": 2}, of_features("omega_pairs") | CAUSAL),
        ({"features.omega_synapses.tau_ms": 10.0}, of_features("omega_synapses") | CAUSAL),
        ({"features.more": {"kind": "spike_counts", "step_ms": 20}}, of_features("more") | {"report"}),
        ({"features": {}}, {"explanation", "report"}),
        ({"drive.seed": 2}, SIMULATION | FEATURES | MODELS | END),
        ({"simulation.record.neurons": [5]}, SIMULATION | FEATURES | MODELS | END),
        ({"simulation.plasticity": False}, SIMULATION | FEATURES | MODELS | END),
        ({"network.seed": 2}, NETWORK | SIMULATION | FEATURES | MODELS | END),
        ({"explanation.seed": 2}, JUDGED),
        ({"explanation.methods.attention.windows": 3}, {"attention"} | JUDGED),
        ({"report.neurons": 3}, {"report"}),
        ({"simulation.ranks": 1}, set()),  # as in every test here; two made the run
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_changed_key_runs_its_stage_and_those_after_it(project, changes, jobs):
    project.change(changes)
    assert project.plan() == jobs


def test_nothing_is_lost_by_another_configuration_and_going_back_plans_nothing(project):
    """Another network under the same run.name: its results stand beside the old ones, which are found again."""
    before = contents(project)
    project.change({"network.seed": 2})
    project.run("network")
    for command in ("check", "plan", "prepare", "status"):
        assert project.spikelens(command, *([RUN] if command == "status" else [])).returncode == 0
    assert contents(project).items() >= before.items()
    project.change({"network.seed": 1})
    assert project.plan() == set()
    assert "Nothing to be done" in project.run()
    assert contents(project).items() >= before.items()


def contents(project) -> dict[Path, bytes]:
    """Every file of the results but those that say which configuration is current."""
    files = [path for path in project.results.rglob("*") if path.is_file() and "current" not in path.relative_to(project.results).parts]
    return {path: path.read_bytes() for path in files if path.name not in ("config.json", ".lock") and path.suffix != ".log"}


def test_slurm_without_sbatch_is_refused_at_once(tmp_path):
    """Each job would be submitted again and again, for ten minutes and without a word."""
    project, commands = Project.new(tmp_path / "project"), tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "sh", "which"):
        (commands / name).symlink_to(shutil.which(name))
    command = project.command("--workflow-profile", "profiles/slurm")
    command["env"]["PATH"] = str(commands)
    refused = subprocess.run(**command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert refused.returncode == 2, refused.stdout
    assert "sbatch not found: log in to a submit node" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not project.results.exists()


def test_a_second_call_on_the_same_run_is_refused_and_leaves_no_lock(project):
    """From another folder, say: snakemake's own lock is kept where it was called."""
    project.change({"report.neurons": 3})
    with places.hold(project.results):
        refused = project.snakemake()
    assert refused.returncode == 2
    assert f"another call is working on this run (process {os.getpid()} on" in refused.stdout
    assert "Traceback" not in refused.stdout
    project.run()


def test_a_comment_in_the_readme_changes_nothing(project):
    (project.folder / "README.md").write_text("Another readme.\n")
    assert project.plan() == set()


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


@pytest.mark.parametrize("option", ["--dry-run", "-n", "-np"])
def test_a_dry_run_writes_nothing(project, option):
    (project.results / "current/spikes.zarr/spikes/zarr.json").unlink()
    before = project.times("**/*")
    assert project.snakemake(option).returncode == 0
    assert project.times("**/*") == before


def test_in_an_allocation_of_the_user_jobs_start_as_anywhere(project, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    project.change({"simulation.ranks": 2})
    shown = project.snakemake("-n", "-p", "--forceall")
    assert shown.returncode == 0
    assert "mpi=mpiexec" in shown.stdout
    assert "srun" not in shown.stdout


def test_what_was_lost_and_what_was_changed_are_both_in_the_plan(project):
    (project.results / "current/network.zarr/in_degree/c/0").unlink()
    (project.results / "current/spikes.zarr/spikes/c/0/0").unlink()
    project.change({"features.omega_synapses.tau_ms": 10.0})
    assert project.plan() == {"network 0", "simulation 0"} | of_features("omega_synapses") | CAUSAL
    project.run()
    (project.results / "current/spikes.zarr/spikes/c/0/0").unlink()
    project.change({"features.omega_synapses.tau_ms": 15.0})
    assert project.plan() == {"simulation 0"} | of_features("omega_synapses") | CAUSAL


COUNTS = "current/features/spike_counts/output.zarr/count/c/*/*"


def check_growth(project, old_spikes, old_features):
    """Three segments became four: old spikes and features are untouched."""
    assert project.times("current/spikes.zarr/spikes/c/[012]/*") == old_spikes
    now = project.times(COUNTS)
    assert now.items() >= old_features.items()
    assert len(now) == 8
    assert project.plan() == set()


def test_a_longer_duration_adds_a_segment_leaves_the_old_ones_and_equals_a_run_of_that_length(project, tmp_path):
    spikes, features = project.times("current/spikes.zarr/spikes/c/[012]/*"), project.times(COUNTS)
    project.change({"simulation.duration_s": 8})
    assert project.plan() == {"simulation 3"} | of_features(*FEATURE_NAMES, segments=[3]) | MODELS | END
    project.run()
    check_growth(project, spikes, features)
    check_same_shards(project, Project.new(tmp_path / "fresh", {"simulation.duration_s": 8}))


def test_a_run_grows_also_after_a_call_that_failed_midway(project):
    spikes, features = project.times("current/spikes.zarr/spikes/c/[012]/*"), project.times(COUNTS)
    project.change({"simulation.duration_s": 8})
    obstacle = project.results / "current/features/spike_counts/output.zarr/count/c/3"
    obstacle.write_text("a file where a folder has to be: the features of the new segment cannot be written")
    assert project.snakemake().returncode == 1
    assert (project.results / "current/spikes.zarr/spikes/c/3/0").is_file()
    obstacle.unlink()
    assert "simulation 3" not in project.plan()
    project.run()
    check_growth(project, spikes, features)


def check_same_shards(project, fresh):
    """Every shard of a run that is made now, as far as the features, is in the other, with the same bytes."""
    fresh.run("features")
    stored = ("spikes.zarr", "weights.zarr", "state.zarr", *(f"features/{name}/output.zarr" for name in FEATURE_NAMES))
    shards = [path for store in stored for path in fresh.results.glob(f"current/{store}/**/c/**/*")]
    files = [path.relative_to(fresh.results) for path in shards if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if (fresh.results / path).read_bytes() != (project.results / path).read_bytes()] == []


def test_after_kill_9_of_the_driver_in_the_second_segment_the_first_is_not_simulated_again(tmp_path):
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
    first = project.times("current/spikes.zarr/spikes/c/0/*")
    assert len(first) == 2
    assert not project.times("current/spikes.zarr/spikes/c/2/*")
    assert project.snakemake("--unlock").returncode == 0
    jobs = planned(project.run())
    # the features of the first segment may have been done before the kill
    assert jobs | of_features(*FEATURE_NAMES, segments=[0]) == {"simulation 1", "simulation 2"} | FEATURES | MODELS | END
    assert project.times("current/spikes.zarr/spikes/c/0/*") == first
    assert len(project.times("current/spikes.zarr/spikes/c/*/*")) == 6
    assert project.plan() == set()


def processes_of(project):
    """Processes that work in a project's folder."""
    folders = [path.resolve() for path in Path("/proc").glob("[0-9]*/cwd") if os.access(path, os.R_OK)]
    return [folder for folder in folders if folder == project.folder.resolve()]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def test_a_sweep_gives_runs_side_by_side(finished, project):
    """Keys may have characters that a shell would take for its own, and runs other blocks."""
    project.change({"sweep": {"network.connections.E->E.p": [0.1, 0.3], "network.block_size": [100, 200]}, "simulation.ranks": 1})
    output = project.snakemake("--dry-run").stdout
    stages = dict(re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE))
    assert stages.keys() >= {"build_network", "simulate", "compute_features", "explain", "make_report"}
    assert len(re.findall(r"^ *Job \d+: network: ", output, flags=re.MULTILINE)) == 2 * (2 + 1) - 2, (
        "the finished run has one member's network"
    )
    made = project.snakemake("network")
    assert made.returncode == 0, made.stdout[-3000:]
    for run in ("p=0.1,network.block_size=200", "p=0.3,network.block_size=100", "p=0.3,network.block_size=200"):
        assert (project.results / f"network.connections.E->E.{run}" / "current/network.zarr/in_degree/c/0").is_file()
    assert sorted(path.name for path in project.folder.iterdir()) == sorted(path.name for path in finished.folder.iterdir())


def test_environment_modules_are_loaded_before_a_job_where_snakemake_is_told_so(tmp_path):
    project = Project.new(tmp_path / "project", {"cluster.modules": ["openmpi/5.0", "python"]})
    command = project.command("network", "--software-deployment-method", "env-modules")
    # jobs run side by side: each shell writes into a file of its own
    command["env"]["BASH_FUNC_module%%"] = f"() {{ echo $* >> {tmp_path}/modules-$$; }}"
    subprocess.run(**command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    called = [path.read_text().splitlines() for path in tmp_path.glob("modules-*")]
    assert called == [["purge", "load openmpi/5.0 python"]] * len(BLOCKS)


def test_an_edited_table_is_noticed_in_every_segment(tmp_path, monkeypatch):
    """Also after a call that ended between the segments: what was made with the old table does not stay."""
    project = Project.new(tmp_path / "project", {"drive.events": "events.csv"})
    table = project.folder / "events.csv"
    table.write_text("step,neuron,mv\n5,3,20\n")

    def simulated(segment):
        run = load_runs(yaml.safe_load((project.folder / "config.yaml").read_text()))[0]
        return f"{RUN}/{job_of(run, 'simulation', {'segment': segment}).whole}"

    monkeypatch.chdir(project.folder)
    old = simulated(1)
    project.run(old)
    table.write_text("step,neuron,mv\n5,3,25\n")
    project.run(simulated(0))
    assert Path(old).is_file(), "what the old table made stays"
    assert simulated(1) != old
    (project.results / "current/spikes.zarr/spikes/c/0/0").unlink()
    assert project.plan() >= SIMULATION


def test_a_run_with_a_short_last_segment_stays_where_it_is_when_the_duration_changes(tmp_path):
    """5 s in segments of 2 s, 200 neurons in blocks of 120: the last of both is short. Its results are kept apart from longer runs'."""
    uneven = {"network.block_size": 120, "simulation.chunk_neurons": 120, "simulation.duration_s": 5}
    sizes = {"models.tft_neuron.history": 4, "models.tft_population.history": 4}
    project = Project.new(tmp_path / "grown", {**uneven, **sizes})
    project.run()
    project.change({"simulation.duration_s": 6})
    assert project.plan() == SIMULATION | FEATURES | MODELS | END
    project.run()
    project.verify()
    check_same_shards(project, Project.new(tmp_path / "fresh", {**uneven, **sizes, "simulation.duration_s": 6}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"simulation.duration_s": -5}, "simulation.duration_s = -5: expected"),
        ({"features.traces.tua_ms": 50}, "features.traces.tua_ms = 50: unknown key; did you mean tau_ms?"),
        ({"network.edges": "nowhere.csv", "network.connections": {}}, 'network.edges = "nowhere.csv": no such file'),
    ],
)
def test_a_wrong_configuration_ends_with_2_and_one_message_before_any_job(project, changes, message):
    project.change(changes)
    before = project.times("**/*")
    finished = project.snakemake()
    assert finished.returncode == 2
    assert message in finished.stdout
    assert "Traceback" not in finished.stdout
    assert "Job" not in finished.stdout
    assert project.times("**/*") == before


def test_snakemake_reads_numbers_as_check_does(project):
    path = project.folder / "config.yaml"
    path.write_text(path.read_text().replace("sweep: {}", "sweep: {network.seed: [0010, 0o10]}"))
    for options in ((), ("--configfile", "config.yaml")):
        shown = project.snakemake("--dry-run", *options)
        assert shown.returncode == 0, shown.stdout[-2000:]
        assert "complete: results/small/network.seed=10, results/small/network.seed=8" in shown.stdout


def test_text_that_snakemake_makes_of_config_is_told_as_such(project):
    shown = project.snakemake("--dry-run", "--config", 'simulation={"duration_s": 8}')
    assert shown.returncode == 2
    assert 'simulation.duration_s = "8": expected a whole number; snakemake converts this --config value to text; use' in shown.stdout
    assert """`spikelens run --set simulation.duration_s=8` or `snakemake --config set='["simulation.duration_s=8"]'`""" in shown.stdout


def test_stores_open_with_plain_xarray_and_show_dimensions_coordinates_and_units(finished, recwarn):
    spikes = xr.open_zarr(finished.results / "current/spikes.zarr").spikes
    assert spikes.dims == ("time", "neuron")
    assert {"time", "neuron", "population"} <= set(spikes.coords)
    assert spikes.time.attrs["units"] == "ms"
    assert [str(w.message) for w in recwarn if "consolidated" in str(w.message)] == []
    found = [f"{store}.zarr" for store in layouts.stores_of(load_run(finished.results))]
    for store in (*found, *(f"features/{name}/output.zarr" for name in FEATURE_NAMES)):
        opened = xr.open_zarr(finished.results / "current" / store)
        assert all("units" in array.attrs or "long_name" in array.attrs for array in opened.data_vars.values())


def test_a_notebook_opens_the_run_lazily(finished, monkeypatch):
    monkeypatch.chdir(finished.folder)
    run = spikelens.open(RUN)
    assert run.spikes.spikes.chunks is not None, "nothing is read yet"
    assert int(run.spikes.spikes.sum()) == run.summary["simulation"]["spikes"]
    assert len(run.synapses.synapse if "synapse" in run.synapses.coords else run.synapses.delay) == run.summary["network"]["synapses"]
    assert run.weights.weight.attrs["units"] == "mV"
    assert float(run.weights.weight.max()) <= 10
    assert run.methods["attention"].attention.sizes["neuron"] == 200
    assert run.features["omega_synapses"].omega.dims == ("window", "synapse")


def test_the_summary_has_the_six_stages_and_the_report_is_one_file(project):
    summary = json.loads((project.results / "current" / "summary.json").read_text())
    assert list(summary) == ["network", "simulation", "features", "models", "explanation", "report"]
    for row in summary["explanation"]["scores"]:
        assert {"score", "saw", "edge_class", "stratum", "auroc", "ap", "ci", "n_positive", "n_negative", "seed"} <= row.keys()
        assert 0 <= row["auroc"] <= 1
    made = project.spikelens("html")
    assert made.returncode == 0, made.stdout[-3000:]
    page = (project.results / "report.html").read_text()
    assert not re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']https?:""", page), "nothing is fetched"
    ours = (project.results / "current" / "report.html").read_text()
    pictures = re.findall(r"data:image/svg\+xml[^\"']{1000,}", ours)
    assert len(pictures) == len(summary["report"]["figures"]) >= 11, "every figure is inside the file"
    assert len(page) > len(ours), "snakemake's own report embeds it"


def test_the_container_does_what_make_run_does(tmp_path):
    """All stages, then the one report file; here with commands that only say how they were called."""
    for name in ("snakemake", "spikelens"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    line = re.search(r"^CMD (.*)$", (REPOSITORY / "envs/Containerfile").read_text(), flags=re.MULTILINE)[1]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    called = subprocess.run(json.loads(line), capture_output=True, text=True, env=environment, check=True).stdout.splitlines()
    assert called == ["spikelens run"]
