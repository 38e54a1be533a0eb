"""Simulation: identical to the plain reference, for any ranks, segments and blocks."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import small_config
from simulations import MPIEXEC, QUICK, compare_with_reference, final_weights, raster, simulate, wiring

from spikelens.config import load_runs
from spikelens.errors import NetworkError, SimulationError
from spikelens.layouts import layout
from spikelens.mpi import owned_blocks, world
from spikelens.network.build import EDGE_COLUMNS, build_blocks
from spikelens.places import place_of
from spikelens.prepare import prepare
from spikelens.simulation.run import simulate_segment
from spikelens.tables import read_table


@pytest.mark.parametrize("plasticity", [True, False])
def test_spikes_and_weights_are_identical_to_the_plain_reference(make_run, plasticity):
    run = make_run({**QUICK, "simulation.plasticity": plasticity})
    simulate(run)
    compare_with_reference(run)
    changed = (final_weights(run) != wiring(run)[3]).any()
    assert changed == plasticity


def test_a_run_with_edge_table_and_drive_events_is_identical_to_the_reference(make_run, tmp_path):
    """Random edges, some of them static, driven by a table of events without kicks."""
    rng = np.random.default_rng(5)
    n, m = 200, 4000
    table = pd.DataFrame({"source": rng.integers(0, n, m), "target": rng.integers(0, n, m), "delay_ms": rng.integers(1, 31, m)})
    table = table[table.source != table.target].drop_duplicates(ignore_index=True)
    table["weight_mv"] = np.where(table.source < 160, rng.uniform(0, 10, len(table)), -4.0)
    table["plastic"] = (table.source < 160) & (rng.random(len(table)) < 0.7)
    table.to_csv(tmp_path / "edges.csv", index=False)
    events = pd.DataFrame({"step": rng.integers(0, 3000, 6000), "neuron": rng.integers(0, n, 6000), "mv": rng.normal(15, 5, 6000)})
    events.to_parquet(tmp_path / "events.parquet")
    run = make_run(
        {
            **QUICK,
            "network.connections": {},
            "network.edges": str(tmp_path / "edges.csv"),
            "drive.kick_mv": 0.0,
            "drive.events": str(tmp_path / "events.parquet"),
        }
    )
    simulate(run)
    amounts = np.rint(events.mv * 65536).astype(int)
    spikes = compare_with_reference(run, list(zip(events.step, events.neuron, amounts, strict=True)))
    assert len(wiring(run)[0]) == len(table)
    assert spikes.any(axis=0).sum() > 100


def checksum(run):
    """A checksum of raster and weights that does not depend on the blocks."""
    order = np.lexsort(wiring(run)[2::-1])
    digest = hashlib.sha256(np.packbits(raster(run)).tobytes())
    digest.update(final_weights(run)[order].tobytes())
    return digest.hexdigest()


# 1,250 neurons with about 100 synapses each; the second block size leaves a last block of 4 neurons
LARGER = {
    **QUICK,
    "network.neurons": 1250,
    "network.populations.E.count": 1000,
    "network.populations.I.count": 250,
    "network.connections.E->E.p": 0.08,
    "network.connections.E->E.weight_mv": 6.0,
    "network.connections.E->I.p": 0.08,
    "network.connections.I->E.p": 0.1,
    "drive.kick_mv": 20.0,
    "simulation.duration_s": 5,
}
DIVISIONS = [(segment_s, block_size) for segment_s in (5, 3, 1) for block_size in (125, 178)]


def divided(make_run, segment_s, block_size, ranks):
    keys = {"simulation.segment_s": segment_s, "network.block_size": block_size, "simulation.chunk_neurons": block_size}
    run = make_run({**LARGER, **keys, "simulation.ranks": ranks}, folder=f"{segment_s}-{block_size}")
    build_blocks(run, range(run.n_blocks))
    return run


@pytest.fixture(scope="module")
def undivided(tmp_path_factory):
    """The checksum of the larger network, simulated in one segment by one process without MPI, and its number of spikes."""
    run = load_runs(small_config(tmp_path_factory.mktemp("undivided"), {**LARGER, "simulation.segment_s": 5}))[0]
    prepare(run)
    simulate(run)
    return checksum(run), int(raster(run).sum())


@pytest.mark.parametrize(
    ("ranks", "divisions"),
    [
        (2, DIVISIONS),
        *(pytest.param(ranks, DIVISIONS, marks=pytest.mark.slow) for ranks in (1, 3)),
        # with more ranks than cores, a step takes 20 times as long: 10 blocks on 4 ranks, 8 on 7
        pytest.param(4, DIVISIONS[::2], marks=pytest.mark.slow),
        pytest.param(7, DIVISIONS[1::2], marks=pytest.mark.slow),
    ],
)
def test_raster_and_weights_do_not_depend_on_ranks_segments_and_blocks(make_run, undivided, ranks, divisions):
    """1, 2 and 5 segments, each with two block sizes: one checksum."""
    expected, n_spikes = undivided
    assert n_spikes > 10_000
    runs = [divided(make_run, segment_s, block_size, ranks) for segment_s, block_size in divisions]
    assert {run.n_segments for run in runs} == {1, 2, 5}
    script = Path(__file__).with_name("simulate_runs.py")
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, str(script), str(ranks), *(run.path for run in runs)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert [checksum(run) == expected for run in runs] == [True] * len(runs)


def test_the_last_segment_and_block_can_be_shorter(make_run):
    """5 s in segments of 2 s, 200 neurons in blocks of 60: same result although neither divides evenly."""
    base = {**QUICK, "simulation.duration_s": 5}
    plain = make_run({**base, "simulation.segment_s": 5}, folder="plain")
    uneven = make_run({**base, "simulation.segment_s": 2, "network.block_size": 60, "simulation.chunk_neurons": 60}, folder="uneven")
    for run in (plain, uneven):
        simulate(run)
    assert checksum(plain) == checksum(uneven)


def test_more_spikes_in_a_step_than_the_fixed_message_holds(make_run, tmp_path):
    """All neurons spike in the same step, so the exchange falls back to the message of variable size."""
    n = 200
    volley = tmp_path / "volley.npz"
    np.savez(volley, step=np.repeat([100, 1200], n), neuron=np.tile(np.arange(n), 2), mv=np.full(2 * n, 200.0))
    keys = {**QUICK, "drive.kick_mv": 0.0, "drive.events": str(volley), "simulation.ranks": 2}
    alone, shared = make_run(keys, folder="alone"), make_run(keys, folder="shared")
    simulate(alone)
    simulate(shared, 2)
    assert raster(alone).sum(axis=1).max() > 150
    assert checksum(alone) == checksum(shared)


def test_a_wrong_number_of_ranks_is_refused(make_run):
    run = make_run(QUICK)
    build_blocks(run, range(run.n_blocks))
    command = [sys.executable, "-m", "spikelens", "simulate", run.path, "--ranks", "2"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 2
    assert "1 MPI ranks were started, expected 2" in finished.stderr
    assert not layout(run, "spikes").shard_path("spikes", (0, 0)).exists()


def test_unexpected_ranks_are_refused_before_anything_is_written(make_run):
    run = make_run(QUICK)
    build_blocks(run, range(run.n_blocks))
    before = {path: path.lstat().st_mtime_ns for path in run.folder.rglob("*")}
    command = [str(MPIEXEC), "-n", "2", sys.executable, "-m", "spikelens", "simulate", run.path]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 2
    assert finished.stderr.count("2 processes were started (PMI_SIZE) without --ranks; use --ranks 2") == 2
    assert {path: path.lstat().st_mtime_ns for path in run.folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        ({}, False),
        ({"PMI_SIZE": "1"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, False),  # a batch script, not srun
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"PMI_SIZE": "4"}, True),
    ],
)
def test_ranks_is_required_only_if_a_launcher_started_several_processes(monkeypatch, environment, refused):
    for name in [name for name in os.environ if name.startswith(("PMI", "OMPI", "SLURM"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if refused:
        with pytest.raises(SimulationError, match=r"4 processes were started .* --ranks 4"):
            world(None)
    else:
        assert world(None) is None


def test_the_state_of_another_simulation_is_refused(make_run):
    run = make_run(QUICK)
    build_blocks(run, range(run.n_blocks))
    simulate_segment(run, 0)
    other = run.model_copy(update={"drive": run.drive.model_copy(update={"seed": 2})})
    shutil.copytree(place_of(run, "simulation"), place_of(other, "simulation"))  # by hand
    with pytest.raises(SimulationError, match=r"state.zarr/stamp.*another configuration"):
        simulate_segment(other, 1)


def step_of_divergence(event_step, event_mv):
    """Step at which v of an isolated excitatory neuron overflows after one event; plain implementation."""
    f = np.float32
    v, u = f(-65), f(-13)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(event_step + 100):
            x = (f(140) - u) + f(event_mv if t == event_step else 0)
            for _ in range(2):
                v = v + f(0.5) * (((f(0.04) * v) * v + f(5) * v) + x)
            u = u + f(0.02) * (f(0.2) * v - u)
            if not np.isfinite(v):
                return t
            if v >= 30:
                v, u = f(-65), u + f(8)
    raise AssertionError("it does not diverge")


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("neurons", [[7], [123], [61, 30]])
def test_a_membrane_that_is_no_longer_finite_is_reported_with_neuron_and_step(make_run, tmp_path, neurons, ranks):
    """A strong inhibitory event makes v and u overflow within a few steps; the first neuron is reported."""
    events = {"step": [1500] * len(neurons), "neuron": neurons, "mv": [-32_000.0] * len(neurons)}
    pd.DataFrame(events).to_csv(tmp_path / "blow.csv", index=False)
    unconnected = {f"network.connections.{key}.p": 0.0 for key in ("E->E", "E->I", "I->E")}
    run = make_run({**QUICK, **unconnected, "drive.kick_mv": 0.0, "drive.events": str(tmp_path / "blow.csv")})
    build_blocks(run, range(run.n_blocks))
    alone = [sys.executable, "-m", "spikelens", "simulate", run.path]
    command = alone if ranks == 1 else [str(MPIEXEC), "-n", str(ranks), *alone, "--ranks", str(ranks)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120)
    expected = step_of_divergence(1500, -32_000.0)
    assert 1500 < expected < 1550
    assert finished.returncode == 2
    assert f"neuron {min(neurons)}: its membrane potential is no longer finite at step {expected};" in finished.stderr
    assert "Traceback" not in finished.stderr
    spikes = layout(run, "spikes")
    assert [spikes.shard_path("spikes", (segment, 0)).exists() for segment in range(3)] == [True, False, False]


def test_inputs_that_might_exceed_32_bits_are_refused(make_run, tmp_path):
    """Each event is within bounds, but two in one step would overflow."""
    np.savez(tmp_path / "much.npz", step=[7, 7, 8], neuron=[3, 3, 3], mv=[30_000.0, 30_000.0, 1.0])
    run = make_run({**QUICK, "drive.events": str(tmp_path / "much.npz")})
    build_blocks(run, range(run.n_blocks))
    with pytest.raises(SimulationError, match=r"neuron 3: weights, kick, .* and drive.events of one step can add up to 60\d\d\d mV"):
        simulate_segment(run, 0)
    assert not layout(run, "spikes").shard_path("spikes", (0, 0)).exists()


GOOD_EDGES = {"source": [0, 1], "target": [1, 2], "delay_ms": [1, 5], "weight_mv": [6.0, 5.0], "plastic": [True, False]}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("source", 200, r"row 1: 200, expected a neuron id in 0 .. 199 as source"),
        ("target", -1, r"row 1: -1, expected a neuron id"),
        ("delay_ms", 0, r"row 1: 0, expected a delay of 1 .. 255 ms"),
        ("delay_ms", 256, r"row 1: 256, expected a delay"),
        ("weight_mv", float("nan"), r"row 1: weight_mv = nan, expected a finite number"),
        ("weight_mv", 40_000.0, r"row 1: 40000.0, expected \|weight\| < 32,768 mV"),
        ("source", "two", r"row 1: source = two, expected a whole number"),
        ("plastic", "maybe", r"row 1: plastic = maybe, expected true or false"),
    ],
)
def test_an_invalid_row_of_an_edge_table_is_reported_with_the_reason(make_run, tmp_path, column, value, reason):
    table = {name: list(values) for name, values in GOOD_EDGES.items()}
    table[column][1] = value
    pd.DataFrame(table).to_csv(tmp_path / "edges.csv", index=False)
    run = make_run({**QUICK, "network.connections": {}, "network.edges": str(tmp_path / "edges.csv")})
    with pytest.raises(NetworkError, match=reason):
        build_blocks(run, [0])


def test_a_duplicate_edge_is_reported(make_run, tmp_path):
    table = pd.DataFrame({name: [*values, values[0]] for name, values in GOOD_EDGES.items()})
    table.to_csv(tmp_path / "edges.csv", index=False)
    run = make_run({**QUICK, "network.connections": {}, "network.edges": str(tmp_path / "edges.csv")})
    with pytest.raises(NetworkError, match=r"row 2: duplicate edge"):
        build_blocks(run, [0])


def test_a_missing_column_of_an_edge_table_is_reported(make_run, tmp_path):
    pd.DataFrame({"source": [0], "target": [1]}).to_csv(tmp_path / "edges.csv", index=False)
    run = make_run({**QUICK, "network.connections": {}, "network.edges": str(tmp_path / "edges.csv")})
    with pytest.raises(NetworkError, match=f"column delay_ms is missing; expected columns: {', '.join(EDGE_COLUMNS)}"):
        build_blocks(run, [0])


def bytes_of(suffix, tmp_path):
    """A table of three edges as the bytes of a file of this format."""
    path = tmp_path / f"whole{suffix}"
    frame = pd.DataFrame({name: [*values, values[0]] for name, values in GOOD_EDGES.items()})
    if suffix == ".npz":
        np.savez(path, **{name: frame[name].to_numpy() for name in frame})
    else:
        frame.to_parquet(path)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_an_empty_or_truncated_table_is_refused_with_its_name(tmp_path, suffix, share):
    whole = bytes_of(suffix, tmp_path)
    path = tmp_path / f"edges{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(NetworkError, match=re.escape(f"{path} cannot be read as a table")):
        read_table(path, EDGE_COLUMNS)


def test_an_npz_with_flipped_bytes_or_a_single_array_is_refused_with_its_name(tmp_path):
    path = tmp_path / "edges.npz"
    np.savez_compressed(path, **{name: np.arange(1000) for name in EDGE_COLUMNS})
    damaged = bytearray(path.read_bytes())
    damaged[200:260] = bytes(60)
    path.write_bytes(damaged)
    with pytest.raises(NetworkError, match=re.escape(f"{path} cannot be read as a table")):
        read_table(path, EDGE_COLUMNS)
    with path.open("wb") as file:
        np.save(file, np.arange(5))
    with pytest.raises(NetworkError, match=re.escape(f"{path} cannot be read as a table")):
        read_table(path, EDGE_COLUMNS)


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 7])
def test_each_block_has_one_owner(n_ranks):
    owned = [block for rank in range(n_ranks) for block in owned_blocks(7, rank, n_ranks)]
    assert sorted(owned) == list(range(7))
