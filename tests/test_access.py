"""A run in a notebook: what is opened may be stored again, from wherever, while the run is under way, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from simulations import QUICK, compute_features
from test_stores import TINY, fill_run

import spikelens
from spikelens.cli import main
from spikelens.errors import SpikelensError, StoreError
from spikelens.layouts import block_group, layout, recorded_group
from spikelens.network.build import build_blocks
from spikelens.simulation.run import simulate_segment

STORES = ("network", "synapses", "spikes", "weights", "state", "records")
FEATURES = ("spike_counts", "traces", "omega_pairs", "omega_synapses")


@pytest.fixture
def full_run(make_run):
    """A run with all of its stores, filled with anything."""
    run = make_run(TINY)
    fill_run(run)
    return run


@pytest.mark.parametrize("store", [*STORES, *FEATURES, "rate"])
def test_what_was_opened_can_be_stored_as_zarr_and_is_the_same_again(full_run, tmp_path, store):
    run = spikelens.open(full_run.path)
    opened = run.rate() if store == "rate" else run.features[store] if store in FEATURES else getattr(run, store)
    opened.to_zarr(tmp_path / "copy.zarr")
    again = xr.open_zarr(tmp_path / "copy.zarr", decode_timedelta=False)
    xr.testing.assert_identical(again if store != "rate" else again["rate"], opened)


def test_a_part_that_cuts_chunks_can_be_stored_as_zarr_too(full_run, tmp_path):
    opened = spikelens.open(full_run.path)
    part = opened.spikes.isel(time=slice(7, 3_333), neuron=slice(3, 14))
    part.chunk(time=1_000, neuron=11).to_zarr(tmp_path / "part.zarr")
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "part.zarr").spikes, opened.spikes.spikes[7:3_333, 3:14])
    opened.weights.isel(boundary=[0, -1]).to_netcdf(tmp_path / "weights.nc", engine="scipy")


# --- where a run is -----------------------------------------------------------------------------------------------------


def test_a_run_opened_by_a_relative_path_stays_open_wherever_the_process_goes(full_run, tmp_path, monkeypatch):
    monkeypatch.chdir(full_run.folder.parent)
    opened = spikelens.open(full_run.folder.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert opened.spikes.sizes["neuron"] == full_run.network.neurons
    assert opened.config.folder == full_run.folder


def test_the_tables_of_a_run_are_found_wherever_the_process_goes(make_run, tmp_path, monkeypatch):
    """Results are found by what stands in the tables."""
    monkeypatch.chdir(tmp_path)
    Path("edges.csv").write_text("source,target,delay_ms,weight_mv,plastic\n0,1,1,6,1\n")
    Path("events.csv").write_text("step,neuron,mv\n0,1,20\n")
    run = make_run({**QUICK, "network.connections": {}, "network.edges": "edges.csv", "drive.events": "events.csv"})
    build_blocks(run, range(run.n_blocks))
    simulate_segment(run, 0)
    opened = spikelens.open(run.path, partial=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert opened.synapses.source.values.tolist() == [0]
    assert opened.spikes.sizes["time"] == 1_000
    with pytest.raises(
        SpikelensError, match=r"network\.edges = edges\.csv: no such file; .*\. Call this from the folder where the run was started"
    ):
        spikelens.open(run.path)


def test_a_home_is_expanded(full_run, monkeypatch):
    monkeypatch.setenv("HOME", str(full_run.folder.parent))
    assert spikelens.open(f"~/{full_run.folder.name}").spikes.sizes["time"] == full_run.n_steps


@pytest.mark.parametrize("url", ["https://example.org/results/reference", "s3://bucket/reference", Path("http://example.org/a")])
def test_a_url_is_refused_with_what_opens_it(url):
    with pytest.raises(SpikelensError, match=r"is a URL, expected a folder; open one store of the run with xarray"):
        spikelens.open(url)


# --- a run under way ----------------------------------------------------------------------------------------------------


@pytest.fixture
def under_way(make_run):
    """A run of three segments: two are simulated, of one the features are computed."""
    run = make_run({**QUICK, "simulation.record": {"every_ms": 10, "neurons": [1, 3], "synapses": []}})
    build_blocks(run, range(run.n_blocks))
    for segment in range(2):
        simulate_segment(run, segment)
    compute_features(run, [0])
    return run


def test_of_a_run_under_way_each_store_ends_before_its_first_gap(under_way):
    opened = spikelens.open(under_way.path, partial=True)
    assert opened.spikes.time.values.tolist() == list(range(2_000))
    assert opened.records.time.values.tolist() == list(range(0, 2_000, 10))
    assert opened.weights.boundary.values.tolist() == [1_000, 2_000]
    assert opened.state.sizes["boundary"] == 2
    features = opened.features
    assert features["spike_counts"].time.values.tolist() == list(range(0, 1_000, 10))
    assert features["traces"].time.values.tolist() == list(range(1_000))
    assert features["omega_pairs"].window.values.tolist() == features["omega_synapses"].window.values.tolist() == [0]
    assert features["omega_synapses"].sizes["synapse"] == opened.synapses.sizes["synapse"]
    assert opened.rate().sizes["time"] == 200, "it counts the spikes"
    assert np.isfinite(opened.rate()[:-60]).all()
    simulate_segment(under_way, 2)
    whole, again = spikelens.open(under_way.path).spikes.spikes, spikelens.open(under_way.path, partial=True).spikes.spikes
    assert whole.sizes["time"] == again.sizes["time"] == 3_000
    np.testing.assert_array_equal(opened.spikes.spikes, whole[:2_000])


def test_a_gap_ends_what_is_shown_whatever_comes_after_it(under_way):
    simulate_segment(under_way, 2)
    layout(under_way, "spikes").shard_path("spikes", (1, 1)).unlink()
    block_group(under_way, "weights", 2).shard_path("weight", (2, 0)).unlink()
    opened = spikelens.open(under_way.path, partial=True)
    assert opened.spikes.sizes["time"] == 1_000
    assert opened.weights.sizes["boundary"] == 2


def test_without_partial_or_without_any_segment_it_is_said_what_is_lacking(under_way, make_run):
    with pytest.raises(StoreError, match="shard is missing"):
        _ = spikelens.open(under_way.path).spikes
    new = make_run(QUICK, folder="new")
    build_blocks(new, range(new.n_blocks))
    opened = spikelens.open(new.path, partial=True)
    assert opened.synapses.sizes["synapse"] > 0
    with pytest.raises(StoreError, match=r"no segment of spikes\.zarr is done yet; `spikelens status` shows the progress"):
        _ = opened.spikes
    with pytest.raises(StoreError, match=r"scores\.json is missing; `spikelens run` writes it after the earlier stages"):
        _ = opened.scores


def test_a_run_whose_last_segment_is_short_is_shown_whole_and_in_part(make_run):
    run = make_run({**QUICK, "simulation.duration_s": 5, "simulation.segment_s": 2})
    build_blocks(run, range(run.n_blocks))
    for segment, shown in ((0, 2_000), (1, 4_000), (2, 5_000)):
        simulate_segment(run, segment)
        assert spikelens.open(run.path, partial=True).spikes.sizes["time"] == shown


def test_recorded_synapses_of_a_run_under_way(make_run):
    run = make_run(QUICK)
    build_blocks(run, range(run.n_blocks))
    pair = [int(spikelens.open(run.path).synapses[name][0]) for name in ("source", "target")]
    run = make_run({**QUICK, "simulation.record": {"every_ms": 10, "neurons": [1], "synapses": [pair]}})
    simulate_segment(run, 0)
    records = spikelens.open(run.path, partial=True).records
    assert dict(records.sizes) == {"time": 100, "neuron": 1, "synapse": len(recorded_group(run).coordinates["source"].values)}


# --- an analysis environment --------------------------------------------------------------------------------------------

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning", "pytorch_forecasting", "mpi4py"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKER + code, *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", [["status"], ["verify"], ["clean"], ["plan"], ["check"], ["prepare"], ["runs"]], ids=" ".join)
def test_commands_that_look_at_a_run_need_no_torch(full_run, command):
    finished = without_torch("from spikelens.cli import main; sys.exit(main())", *command, full_run.path)
    assert "Traceback" not in finished.stderr
    assert finished.returncode == (2 if command == ["verify"] else 0), finished.stderr
    if command == ["verify"]:  # this run has no manifests
        assert "is missing: the job has not finished" in finished.stderr


def test_a_notebook_needs_no_torch(full_run):
    finished = without_torch(f"import spikelens; print(spikelens.open({full_run.path!r}).spikes.sizes['time'])")
    assert finished.stdout.strip() == str(full_run.n_steps), finished.stderr


@pytest.mark.parametrize("command", ["train", "infer"])
def test_a_stage_that_needs_what_is_not_installed_says_so(full_run, command):
    finished = without_torch("from spikelens.cli import main; sys.exit(main())", command, full_run.path)
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr
    assert f"spikelens {command} needs" in finished.stderr
    assert "which is not installed" in finished.stderr


def test_a_damaged_installation_of_ours_keeps_its_traceback(full_run, monkeypatch):
    monkeypatch.setitem(sys.modules, "spikelens.network.build", None)
    with pytest.raises(ModuleNotFoundError):
        main(["network", full_run.path])
