"""Recorded variables: bit-identical to the plain reference, for any ranks, segments and blocks."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from simulations import MPIEXEC, QUICK, compare_with_reference, simulate, wiring

import spikelens
from spikelens.config import load_runs
from spikelens.errors import SimulationError, StoreError
from spikelens.layouts import layout, recorded_group, recorded_synapses, store_path
from spikelens.network.build import build_blocks
from spikelens.prepare import heal, prepare, verify
from spikelens.simulation.run import simulate_segment
from spikelens.stores import read_array

NEURONS = [150, 3, 199, 0, 57]
"""Neurons of both populations and all blocks, unsorted."""


def some_pairs(run, n=12):
    """Pairs with a synapse, plastic or static, unsorted; the network must exist."""
    source, target, _, _, plastic = wiring(run)
    chosen = np.random.default_rng(4).permutation(len(source))
    chosen = np.concatenate([chosen[plastic[chosen]][: n - 3], chosen[~plastic[chosen]][:3]])[::-1]
    return [[int(source[k]), int(target[k])] for k in chosen]


@pytest.fixture
def recording(make_run):
    """A function that prepares a small run with records of some neurons and synapses."""

    def make(changes=None, folder="a", every_ms=1):
        run = make_run({**QUICK, **(changes or {})}, folder=folder)
        build_blocks(run, range(run.n_blocks))
        record = {"every_ms": every_ms, "neurons": NEURONS, "synapses": some_pairs(run)}
        return make_run({**QUICK, **(changes or {}), "simulation.record": record}, folder=folder)

    return make


def recorded(run):
    return [*(read_array(layout(run, "records"), name) for name in ("v", "u")), read_array(recorded_group(run), "weight")]


def faults(run):
    """Faults that verify finds in the records; later stages have not run."""
    return [fault for fault in verify(run) if "/records.zarr/" in fault]


class Watched:
    """v and u of all neurons, and all weights, after each step of the reference."""

    def __init__(self):
        self.v, self.u, self.weight = [], [], []

    def __call__(self, v, u, weight):
        for kept, values in ((self.v, v), (self.u, u), (self.weight, weight)):
            kept.append(values.copy())


@pytest.mark.parametrize("every_ms", [1, 20])
def test_v_u_and_weights_are_bit_identical_to_the_reference(recording, every_ms):
    run = recording(every_ms=every_ms)
    simulate(run)
    watched = Watched()
    spikes = compare_with_reference(run, watch=watched)
    v, u, weight = recorded(run)
    assert v.shape == u.shape == (3000 // every_ms, len(NEURONS))
    assert v.dtype == u.dtype == np.float32
    assert v.tobytes() == np.array(watched.v)[::every_ms, NEURONS].tobytes()
    assert u.tobytes() == np.array(watched.u)[::every_ms, NEURONS].tobytes()
    assert (v[spikes[::every_ms, NEURONS]] == -65).all(), "after the reset"
    source, target, *_ = wiring(run)
    columns = [int(np.flatnonzero((source == pair[0]) & (target == pair[1]))[0]) for pair in run.simulation.record.synapses]
    np.testing.assert_array_equal(weight, np.array(watched.weight)[::every_ms, columns])
    assert np.array_equal(np.flatnonzero(np.diff(weight, axis=0).any(axis=1)) + 1, np.array([1000, 2000]) // every_ms)


def test_all_synapses_of_a_pair_are_recorded_in_the_order_of_delays(make_run, tmp_path):
    """An edge table can have several synapses between two neurons, plastic and static."""
    edges = [(0, 1, 9, 9.0, True), (0, 1, 2, 8.0, False), (0, 1, 200, 7.0, True), (5, 1, 1, 6.0, True), (1, 170, 3, -2.0, False)]
    pd.DataFrame(edges, columns=["source", "target", "delay_ms", "weight_mv", "plastic"]).to_csv(tmp_path / "edges.csv", index=False)
    pairs = [[1, 170], [0, 1], [5, 1]]
    run = make_run(
        {
            **QUICK,
            "network.connections": {},
            "network.edges": str(tmp_path / "edges.csv"),
            "simulation.record": {"every_ms": 500, "neurons": [], "synapses": pairs},
        }
    )
    simulate(run)
    records = spikelens.open(run.path).records
    assert list(records.data_vars) == ["weight"]
    assert list(zip(records.source.values, records.target.values, records.delay.values, strict=True)) == [
        (1, 170, 3),
        (0, 1, 2),
        (0, 1, 9),
        (0, 1, 200),
        (5, 1, 1),
    ]
    np.testing.assert_array_equal(records.weight[0], [-2, 8, 9, 7, 6])
    assert faults(run) == []


DRIVEN = {
    "drive.poisson": {"E": {"rate_hz": 700.0, "weight_mv": 1.5}, "I": {"rate_hz": 90.0, "weight_mv": -3.0}},
    "drive.current_mv": {"I": 1.25},
}


@pytest.mark.parametrize("block_size", [40, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("segment_s", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_records_and_raster_are_the_same_on_any_number_of_ranks_segments_and_blocks(recording, segment_s, block_size):
    """With Poisson input, whose random numbers are keyed by neuron, and constant current."""
    plain = recording({**DRIVEN, "simulation.segment_s": 3}, folder="plain", every_ms=5)
    simulate(plain)
    expected = [*recorded(plain), read_array(layout(plain, "spikes"), "spikes")]
    assert expected[-1].sum() > 1000
    division = {"simulation.segment_s": segment_s, "network.block_size": block_size, "simulation.chunk_neurons": block_size}
    shards = Counter()
    for ranks in (1, 2, 3):
        run = recording({**DRIVEN, **division, "simulation.ranks": ranks}, folder=f"{ranks} ranks", every_ms=5)
        assert run.simulation.record == plain.simulation.record
        simulate(run, ranks)
        for ours, theirs in zip([*recorded(run), read_array(layout(run, "spikes"), "spikes")], expected, strict=True):
            assert ours.tobytes() == theirs.tobytes(), f"{ranks} ranks"
        groups = layout(run, "records"), recorded_group(run)
        shards.update(path.read_bytes() for group in groups for path in group.shard_paths())
        assert faults(run) == []
    assert set(shards.values()) == {3}, "the files of 1, 2 and 3 ranks have the same bytes"


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_recorded_pair_without_a_synapse_is_an_error(make_run, ranks):
    run = make_run({**QUICK, "simulation.record.synapses": [[160, 161]]})  # there is no I->I
    build_blocks(run, range(run.n_blocks))
    alone = [sys.executable, "-m", "spikelens", "simulate", run.path]
    command = alone if ranks == 1 else [str(MPIEXEC), "-n", str(ranks), *alone, "--ranks", str(ranks)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 2
    assert "simulation.record.synapses: there is no synapse from neuron 160 onto neuron 161 in this network" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert not layout(run, "spikes").shard_path("spikes", (0, 0)).exists()


def test_a_recorded_pair_without_a_synapse_is_reported_before_the_simulation(make_run):
    run = make_run({**QUICK, "simulation.record.synapses": [[160, 161]]})
    build_blocks(run, range(run.n_blocks))
    with pytest.raises(SimulationError, match="from neuron 160 onto neuron 161"):
        recorded_synapses(run)


def test_opened_records_have_ids_populations_delays_and_units(recording):
    run = recording(every_ms=20)
    simulate(run)
    records = spikelens.open(run.path).records
    assert records.v.dims == records.u.dims == ("time", "neuron")
    assert records.weight.dims == ("time", "synapse")
    assert records.v.chunks is not None, "nothing is read yet"
    np.testing.assert_array_equal(records.time, np.arange(0, 3000, 20))
    np.testing.assert_array_equal(records.neuron, NEURONS)
    assert list(records.population.values) == ["E", "E", "I", "E", "E"]
    np.testing.assert_array_equal(np.stack([records.source, records.target], axis=1), run.simulation.record.synapses)
    assert {name: records[name].attrs["units"] for name in ("time", "v", "u", "weight", "delay")} == {
        "time": "ms",
        "v": "mV",
        "u": "mV",
        "weight": "mV",
        "delay": "ms",
    }
    assert 0 <= float(records.weight.where(records.source < 160, drop=True).max()) <= 10


def test_opening_records_of_a_run_without_records_is_an_error(make_run):
    run = make_run(QUICK)
    build_blocks(run, range(run.n_blocks))
    simulate_segment(run, 0)
    assert layout(run, "spikes").shard_path("spikes", (0, 0)).exists()
    assert not store_path(run, "records").exists()
    with pytest.raises(StoreError, match=r"records nothing; choose neurons or synapses in simulation\.record"):
        _ = spikelens.open(run.path).records


def test_records_that_are_no_longer_configured_are_kept(recording, make_run):
    run = recording()
    simulate(run)
    before = {path: path.read_bytes() for path in store_path(run, "records").rglob("*") if path.is_file()}
    plain = make_run(QUICK)
    assert plain.path == run.path
    assert not store_path(plain, "records").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_lost_metadata_of_records_are_restored(recording):
    run = recording()
    simulate(run)
    store = store_path(run, "records")
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for path in before:
        if path.name == "zarr.json" or path.parent.parent.name in ("time", "source", "delay", "population"):
            path.unlink()
    heal(run)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_longer_run_keeps_existing_records(recording):
    run = recording(every_ms=20)
    simulate(run)
    groups = layout(run, "records"), recorded_group(run)
    before = {path: path.read_bytes() for group in groups for path in group.shard_paths()}
    content = {**run.model_dump(mode="json"), "sweep": {}}
    content["simulation"]["duration_s"] = 4
    del content["path"]
    longer = load_runs(content)[0]
    assert longer.path == run.path
    prepare(longer)
    simulate_segment(longer, 3)
    assert {path: path.read_bytes() for path in before} == before
    assert len(recorded(longer)[2]) == 200
    assert faults(longer) == []
