"""Commands on the folder of a sweep: results that runs share are counted, read and repaired once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import xarray as xr
from conftest import small_config

import spikelens
from spikelens import manifests, places
from spikelens.cli import main
from spikelens.config import RunConfig, load_run
from spikelens.jobs import Job, jobs_of
from spikelens.layouts import block_group, layout
from spikelens.stores import consolidate_group

SWEPT = {
    "network.block_size": 100,
    "simulation.chunk_neurons": 100,
    "run.results": "results",
    "sweep": {"drive.seed": [1, 2], "report.neurons": [3, 4]},
}
PLACE = "results/small"


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Four runs: one network of two blocks, two simulations of three segments; later stages have not run."""
    monkeypatch.chdir(tmp_path)
    spikelens.simulate(small_config(Path(), SWEPT))
    return [run.config for run in spikelens.open(PLACE).values()]


def simulated_jobs(run: RunConfig) -> list[Job]:
    return [job for job in jobs_of(run) if job.stage in ("network", "simulation")]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """List of the files that are read for checksums."""
    read, digest = [], manifests.digest
    monkeypatch.setattr(manifests, "digest", lambda path: read.append(path) or digest(path))
    return read


def test_status_counts_each_job_once_and_shows_all_runs(simulated, capsys):
    assert main(["status", PLACE]) == 0
    shown = capsys.readouterr().out.splitlines()
    # 2 blocks, 2 x 3 segments; 2 x 12 features, 2 x 3 models, 2 x 3 methods, 2 explanations, 4 reports
    assert shown[0] == f"{PLACE}, 4 runs: 8 of 50 jobs done"
    rows = {line.split()[0]: line.split()[1:3] for line in shown[2:16]}
    assert rows["network"] == ["2", "2"]
    assert rows["simulation"] == ["6", "6"]
    assert rows["report"] == ["4", "-"]
    assert [line.split() for line in shown if "drive.seed=" in line] == [
        [run.path.removeprefix(f"{Path.cwd()}/"), "5", "of", "25", "done,", "20", "waiting"] for run in simulated
    ]


def test_status_in_json_has_the_sum_and_all_runs(simulated, capsys):
    assert main(["status", PLACE, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["path"] == PLACE
    assert {row["rule"]: row["done"] for row in told["rules"]}["simulation"] == 6
    assert [run["path"] for run in told["runs"]] == [run.path.removeprefix(f"{Path.cwd()}/") for run in simulated]


def test_verify_reads_each_file_once(simulated, counted, capsys):
    assert main(["verify", PLACE]) == 2  # later stages are missing
    told = capsys.readouterr().err
    expected = {places.root(run) / file for run in simulated for job in simulated_jobs(run) for file in job.files}
    assert sorted(path.absolute() for path in counted) == sorted(expected)
    assert told.count(" is missing: the job has not finished") == 42
    assert f"faults in {PLACE}, 4 runs (50 jobs, {len(expected):,} files" in told


def test_a_damaged_shared_shard_is_reported_once_and_reruns_only_its_job(simulated, capsys):
    shard = next(Path(PLACE).glob("network/*/network.zarr/blocks/1/delay/c/0"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert main(["verify", PLACE]) == 2
    assert capsys.readouterr().err.count(f"{shard}: damaged: its checksum differs") == 1
    assert main(["verify", PLACE, "--repair"]) == 0
    capsys.readouterr()
    size = manifests.listed()
    lost = {job.manifest for run in simulated for job in simulated_jobs(run) if manifests.state(Path(PLACE), job, size) == "lost"}
    assert lost == {f"network/{shard.parts[3]}/manifests/1.json"}
    spikelens.simulate(PLACE)
    assert main(["verify", PLACE]) == 2
    assert str(shard) not in capsys.readouterr().err


def test_runs_of_two_durations_share_a_store_that_is_valid_for_both(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep = {"sweep": {"simulation.duration_s": [8, 6]}}
    opened = spikelens.simulate(small_config(Path(), {**SWEPT, **sweep}))
    assert [run.spikes.sizes["time"] for run in opened.values()] == [6000, 8000]
    assert main(["verify", PLACE]) == 2
    told = capsys.readouterr().err
    assert "/simulation/" not in told
    assert "/network/" not in told
    assert load_run(f"{PLACE}/simulation.duration_s=6").n_segments == 3
    short, long = (load_run(f"{PLACE}/simulation.duration_s={seconds}") for seconds in (6, 8))
    for run in (long, short):  # the report of the shorter run is the last one
        for store in ("network", "spikes"):
            groups = [block_group(run, store, block) for block in range(run.n_blocks)] if store == "network" else []
            consolidate_group(layout(run, store), groups)
    assert xr.open_zarr(layout(long, "spikes").path).spikes.load().sizes["time"] == 8000
    main(["verify", PLACE])
    assert "consolidated" not in capsys.readouterr().err
