"""Manifests: lost, damaged and swapped files are reported; only their jobs run again."""

from __future__ import annotations

import platform
import random
import re
import shutil
import time

import numpy as np
import pytest
from conftest import made_once, small_config
from projects import CAUSAL, FEATURE_NAMES, JUDGED, RUN, SEGMENTS, Project, finish, of_features

from spikelens import manifests
from spikelens.config import load_run, load_runs
from spikelens.jobs import job_of, jobs_of, work_of
from spikelens.places import root


@pytest.fixture
def run(tmp_path):
    """A run with one finished job, of the first segment; its files have arbitrary content."""
    run = load_runs(small_config(tmp_path, {"run.results": str(tmp_path / "results")}))[0]
    for number, name in enumerate(simulated(run).files):
        (root(run) / name).parent.mkdir(parents=True, exist_ok=True)
        (root(run) / name).write_bytes(bytes([number]) * 10)
    manifests.write(run, simulated(run), time.time())
    return run


def simulated(run):
    return job_of(run, "simulation", {"segment": 0})


def flags(run):
    """Whether the flags `made` and `whole` of the job exist after the workflow was read."""
    manifests.restore_flags(root(run), work_of(run))
    return (root(run) / simulated(run).made).exists(), (root(run) / simulated(run).whole).exists()


def test_flags_follow_from_the_manifest(run):
    job = simulated(run)
    assert flags(run) == (True, True)
    path = root(run) / job.files[1]
    content = path.read_bytes()
    for injury in (path.unlink, lambda: path.write_bytes(b""), lambda: path.write_bytes(content + b"x")):
        injury()
        assert flags(run) == (True, False)
        path.write_bytes(content)
        assert flags(run) == (True, True)
    shutil.rmtree((root(run) / job.made).parent)
    assert flags(run) == (True, True)
    manifest = root(run) / job.manifest
    manifest.write_text(manifest.read_text().replace("10", "11", 1))
    assert flags(run) == (True, False), "damaged manifest: the job runs again, but not the jobs that depend on it"
    manifest.unlink()
    assert flags(run) == (True, False)
    shutil.rmtree((root(run) / job.made).parent)
    assert flags(run) == (False, False)


def test_no_flags_are_written_for_a_run_without_results(tmp_path):
    run = load_runs(small_config(tmp_path, {"run.results": str(tmp_path / "results")}))[0]
    manifests.restore_flags(root(run), work_of(run))
    assert not root(run).exists()


def test_results_made_with_other_versions_are_used_and_reported(run, monkeypatch):
    assert manifests.under_other_versions(run) == []
    monkeypatch.setattr(manifests, "_versions", lambda: {"numpy": "99.0.1", "a library that was not there": "1.0"})
    python = platform.python_version()
    monkeypatch.setattr(manifests.platform, "python_version", lambda: "3.99.0")
    assert flags(run) == (True, True)
    assert manifests.under_other_versions(run) == [
        f"using results made with numpy {np.__version__}; installed: 99.0.1 (1 job)",
        f"using results made with python {python}; installed: 3.99.0 (1 job)",
    ]


def test_after_a_killed_repair_one_job_is_left_to_run(run):
    job = simulated(run)
    assert flags(run) == (True, True)
    manifests.mark(run, job, ["a shard is damaged"])
    for flag in (job.made, job.whole):  # as snakemake does when a job starts
        (root(run) / flag).unlink(missing_ok=True)
    assert flags(run) == (True, False)
    assert not manifests.is_whole(run, job)
    manifests.write(run, job, time.time())
    assert flags(run) == (True, True)
    assert manifests.is_whole(run, job)


def test_faults_name_each_file(run):
    job = simulated(run)
    first, second, third = (root(run) / name for name in job.files[:3])
    assert manifests.faults(run, job) == []
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    third.unlink()
    assert [fault.split(": ")[0] for fault in manifests.faults(run, job)] == [str(first), str(second), str(third)]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b"\xff\x00", b'{"files": 3, "checksum": 0}'])
def test_a_damaged_manifest_is_reported(run, content):
    path = root(run) / simulated(run).manifest
    path.write_bytes(content)
    assert manifests.faults(run, simulated(run))[0].startswith(f"{path} is damaged")
    assert not manifests.is_whole(run, simulated(run))


# --- the whole workflow -------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path_factory, tmp_path) -> Project:
    project = Project(made_once(tmp_path_factory, "finished", finish)).copy(tmp_path / "project")
    project.change({"simulation.ranks": 1})
    return project


KINDS = {
    "shards": re.compile(r"\.zarr/.*/c/"),
    "metadata": re.compile(r"zarr\.json$"),
    "tables": re.compile(r"(scores|associations|summary|model)\.json$|history\.jsonl$"),
    "weights": re.compile(r"\.safetensors$"),
    "figures": re.compile(r"\.(svg|html)$"),
    "manifests": re.compile(r"manifests/.*\.json$"),
}
WITH_TIMES = re.compile(r"summary\.json$|model\.json$|history\.jsonl$|manifests/|\.svg$|\.html$|/report/")


def injure(rng: random.Random, path, others) -> None:
    """Remove, truncate, empty or swap files, or flip a bit."""
    content = path.read_bytes()
    same_size = [other for other in others if other != path and other.stat().st_size == len(content) and other.read_bytes() != content]
    kind = rng.choice(["lose", "truncate", "empty", "flip", *(["swap"] if same_size else [])])
    if kind == "lose":
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(content[: rng.randrange(1, len(content))])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "swap":
        path.write_bytes(rng.choice(same_size).read_bytes())
    else:
        place = rng.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_verify_names_all_damaged_files_and_repair_recreates_them_by_rerunning_only_their_jobs(project, seed):
    rng, run = random.Random(seed), load_run(project.results)
    folder = project.results.resolve()
    files = [path for path in folder.rglob("*") if path.is_file() and "current" not in path.relative_to(folder).parts]
    files = sorted(path for path in files if any(kind.search(str(path)) for kind in KINDS.values()))
    before = {path: path.read_bytes() for path in files}
    hit = set()
    for name, kind in KINDS.items():
        of_kind = [path for path in files if kind.search(str(path))]
        hit |= set(rng.sample(of_kind, 4 if name == "manifests" else min(len(of_kind), 40)))
    for path in sorted(hit):
        injure(rng, path, [other for other in files if other not in hit])
    told = project.spikelens("verify", RUN)
    assert told.returncode == 2
    assert "Traceback" not in told.stdout
    owners = {root(run).resolve() / file: job for job in jobs_of(run) for file in (*job.files, job.manifest)}
    named = {path for path in hit if str(path.relative_to(project.folder.resolve())) in told.stdout}
    unknown = {path for path in hit if path in owners and root(run).resolve() / owners[path].manifest in hit}
    assert sorted(hit - named - unknown) == [], "files of a lost manifest are unknown and are recreated"
    assert len(named) > 60
    repaired = project.spikelens("verify", RUN, "--repair")
    assert repaired.returncode == 0, repaired.stdout
    expected = {job_name(owners[path]) for path in hit if path in owners}
    assert project.plan() == expected
    project.run()
    project.verify()
    assert [path for path in files if not WITH_TIMES.search(str(path)) and not same(path, before[path])] == []


def same(path, before: bytes) -> bool:
    """Whether a file is unchanged; group metadata can be consolidated or not."""
    return path.name == "zarr.json" or path.read_bytes() == before


def job_name(job) -> str:
    """Return the name of the job as shown in the plan."""
    if job.stage == "models":
        return f"{job.work.item} {job.name}"
    if job.stage == "explanation" and job.work.item:
        return job.work.item
    return " ".join([job.rule, *re.findall(r"\d+", job.name)])


@pytest.mark.slow
def test_after_a_failed_repair_one_job_is_left_to_run(project):
    shard = project.results / "current/spikes.zarr/spikes/c/0/0"
    before = shard.read_bytes()
    shard.unlink()
    shard.mkdir()
    (shard / "in the way").touch()
    assert project.snakemake().returncode == 1
    assert project.plan() == {"simulation 0"}
    shutil.rmtree(shard)
    assert project.plan() == {"simulation 0"}
    project.run()
    assert shard.read_bytes() == before
    assert project.plan() == set()


@pytest.mark.slow
def test_the_explanation_refuses_a_model_with_a_changed_digit(project):
    path = project.results / "current/models/tft_neuron/1/model.json"
    content = path.read_text()
    path.write_text(re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 10), content, count=1))
    project.change({"explanation.methods.attention.windows": 3})
    failed = project.snakemake()
    assert failed.returncode == 1
    assert "model.json: damaged: its checksum differs" in failed.stdout


@pytest.mark.slow
def test_results_copied_without_snakemakes_metadata_are_used_but_not_by_another_configuration(project):
    shutil.rmtree(project.folder / ".snakemake")
    shutil.rmtree(project.results / "simulation" / next((project.results / "simulation").iterdir()).name / "done")
    assert project.plan() == set()
    project.change({"models.tft_neuron.learning_rate": 0.01})
    assert project.plan() == {"tft_neuron 1", "attention"} | JUDGED
    project.change({"features.omega_pairs.tau_ms": 7.0})
    assert project.plan() == {"tft_neuron 1", "attention"} | of_features("omega_pairs") | CAUSAL


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["simulation", "features"])
def test_a_stage_is_a_target_with_several_segments(tmp_path, stage):
    project = Project.new(tmp_path / "project")
    planned = project.snakemake("--dry-run", stage).stdout
    assert len(set(re.findall(r"Job \d+: simulation: segment (\d)", planned))) == len(SEGMENTS)
    features = set(re.findall(r"Job \d+: features: (\w+, segment \d, block \d)", planned))
    assert len(features) == (len(SEGMENTS) * len(FEATURE_NAMES) if stage == "features" else 0)
    assert "models" not in planned


@pytest.mark.slow
def test_runs_of_a_sweep_share_results_that_do_not_depend_on_the_swept_key(project):
    """One simulation, one set of features, one training run per width; finished results are reused."""
    project.change({"sweep": {"models.tft_neuron.hidden_size": [8, 12, 4]}})
    assert project.plan() == {"tft_neuron 1", "attention"} | JUDGED
    stats = project.snakemake("--dry-run").stdout.partition("Job stats:")[2]
    assert re.search(r"^train +2$", stats, re.M)
    assert "simulate" not in stats
