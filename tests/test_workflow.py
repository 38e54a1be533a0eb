"""The workflow's promises: what is run again, and what is not; what a wrong configuration does.

One small run is finished once, for all workers of a session; every test works on a copy of it, through the `snakemake` that users
call. Plans are read from dry runs. The code is the repository's, which is compiled already; where a test changes it, the copy of it
that lies in the project.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import xarray as xr
import yaml
from conftest import REPOSITORY
from projects import BLOCKS, CAUSAL, END, FEATURE_NAMES, FEATURES, JUDGED, MODELS, NETWORK, RUN, SIMULATION, Project, contents, of_features

import spikelens
from spikelens import layouts, places
from spikelens.config import load_run, load_runs
from spikelens.jobs import job_of

pytestmark = pytest.mark.slow


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
