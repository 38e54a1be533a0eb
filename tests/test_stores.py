"""A shard is read as it was written, or refused by name; metadata follow from the configuration and can be lost."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import xarray as xr
import zarr
from conftest import REPOSITORY, small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spikelens.config import RunConfig, load_runs, record_shards, shards_per_block
from spikelens.errors import StoreError
from spikelens.layouts import (
    BLOCK_STORES,
    OWNER,
    StoreName,
    block_group,
    block_layout,
    layout,
    recorded_group,
    recorded_synapses_layout,
    store_path,
    stores_of,
)
from spikelens.numerics import UNITS_PER_MV
from spikelens.outputs import feature_block, feature_blocks, feature_output, item_outputs
from spikelens.prepare import consolidate, heal, prepare, verify
from spikelens.simulation.layout import ANY_SYNAPSE
from spikelens.stores import Array, Group, ensure, open_group, read_array, read_shard, require, write_shard

MakeRun = Callable[..., RunConfig]
SYNAPSES = 30
"""Synapses of each block in these tests."""


def shape_of(group: Group, array: str, index: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in group.arrays[array].region(index))


def random_values(group: Group, array: str, index: tuple[int, ...], seed: int = 0) -> NDArray[Any]:
    """Values that could stand in a shard: a few, small, not negative."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, shape_of(group, array, index)).astype(group.arrays[array].dtype)


def fill(group: Group) -> None:
    """Write every shard of a group."""
    ensure(group)
    for name, spec in group.arrays.items():
        for index in spec.indices():
            write_shard(group, name, index, random_values(group, name, index))


def fill_run(run: RunConfig) -> None:
    """Write every shard of a run; each block has SYNAPSES synapses, among them one onto each neuron from the next."""
    for store in stores_of(run):
        fill(layout(run, store))
    for block in range(run.n_blocks):
        first, end = run.block_range(block)
        degrees = np.bincount(np.arange(SYNAPSES) % (end - first), minlength=end - first).astype(np.int32)
        write_shard(layout(run, "network"), "in_degree", (block,), degrees)
    for store in BLOCK_STORES:
        for block in range(run.n_blocks):
            fill(block_group(run, store, block))
    for block in range(run.n_blocks):
        degrees = read_shard(layout(run, "network"), "in_degree", (block,))
        target = np.repeat(np.arange(*run.block_range(block), dtype=np.int32), degrees)
        which = np.arange(SYNAPSES) - np.repeat(np.cumsum(degrees) - degrees, degrees)
        source = ((target + 1 + which) % run.network.neurons).astype(np.int32)
        for name, values in (("source", source), ("target", target), ("delay", np.ones(SYNAPSES, np.uint8))):
            write_shard(block_group(run, "network", block), name, (0,), values)
    fill(recorded_group(run))
    for output in item_outputs(run):
        fill(output)
    for name, block in feature_blocks(run):
        fill(feature_block(run, name, block))


TINY = {
    "network.neurons": 20,
    "network.populations.E.count": 16,
    "network.populations.I.count": 4,
    "network.block_size": 10,
    "simulation.chunk_neurons": 10,
    "simulation.chunk_ms": 500,
    "simulation.record": {"every_ms": 20, "neurons": [18, 3], "synapses": [[16, 15], [3, 2]]},
    "models.autoencoder.units": 2,
    "features.spike_counts.step_ms": 50,
}


@pytest.fixture(scope="session")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of 20 neurons with every shard written."""
    run = load_runs(small_config(tmp_path_factory.mktemp("once"), TINY))[0]
    prepare(run)
    fill_run(run)
    return run.folder


@pytest.fixture
def full_run(written_once: Path, tmp_path: Path) -> RunConfig:
    """A copy of that run for a test to damage."""
    run = load_runs(small_config(tmp_path / "a", TINY))[0]
    shutil.copytree(written_once, run.folder, symlinks=True)
    prepare(run)
    return run


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def times(paths: list[Path]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in paths}


# --- reading what was written ---------------------------------------------------------------------------------------------


@st.composite
def sharded_arrays(draw: st.DrawFn) -> Array:
    """Arrays of one or two dimensions whose last shards may be short."""
    n_dims = draw(st.integers(1, 2))
    chunks = draw(st.tuples(*[st.integers(1, 4)] * n_dims))
    shards = tuple(chunk * draw(st.integers(1, 3)) for chunk in chunks)
    shape = tuple(draw(st.integers(1, 3 * shard)) for shard in shards)
    dtype = draw(st.sampled_from(["bool", "uint8", "uint16", "int32", "int64", "float32"]))
    return Array(("a", "b")[:n_dims], shape, shards, dtype, {}, chunks=chunks)


@settings(max_examples=60, deadline=None)
@given(spec=sharded_arrays(), seed=st.integers(0, 2**32 - 1))
def test_what_was_written_is_read_back_also_from_short_last_shards(
    spec: Array, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    group = Group(tmp_path_factory.mktemp("store") / "x.zarr", {}, {"x": spec})
    ensure(group)
    whole = np.random.default_rng(seed).integers(0, 100, spec.shape).astype(spec.dtype)
    for index in spec.indices():
        write_shard(group, "x", index, whole[spec.region(index)])
    for index in spec.indices():
        np.testing.assert_array_equal(read_shard(group, "x", index), whole[spec.region(index)])
    np.testing.assert_array_equal(read_array(group, "x"), whole)
    assert sorted(path for path in (group.path / "x" / "c").rglob("*") if path.is_file()) == sorted(group.shard_paths())


def chunks_of(spec: Array, shard: bytes) -> list[bytes | None]:
    """The encoded chunks of a shard in C order, by its index, after making sure that they fill it; None for those it lacks."""
    n_chunks = int(np.prod([length // chunk for length, chunk in zip(spec.shards, spec.chunk_shape, strict=True)]))
    table, checksum = shard[-16 * n_chunks - 4 : -4], shard[-4:]
    assert int.from_bytes(checksum, "little") == google_crc32c.value(table)
    index = np.frombuffer(table, "<u8").reshape(-1, 2)
    there = index[:, 0] != np.iinfo(np.uint64).max
    assert index[there, 1].sum() == len(shard) - 16 * n_chunks - 4
    return [shard[int(start) : int(start + length)] if is_there else None for (start, length), is_there in zip(index, there, strict=True)]


@settings(max_examples=100, deadline=None)
@given(spec=sharded_arrays(), seed=st.integers(0, 2**32 - 1), density=st.sampled_from([0.0, 0.02, 1.0]))
def test_a_shards_bytes_are_those_that_zarr_writes(
    spec: Array, seed: int, density: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the chunks, the type and the values, chunks of zeros and short last shards among them.

    Only the order of chunks in a shard may differ, which Zarr leaves to who writes: ours is C order, zarr's Morton order.
    """
    folder, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(seed)
    ours, theirs = (Group(folder / name, {}, {"x": spec}) for name in ("ours.zarr", "theirs.zarr"))
    whole = (rng.integers(0, 100, spec.shape) * (rng.random(spec.shape) < density)).astype(spec.dtype)
    for group in (ours, theirs):
        ensure(group)
    with zarr.config.set({"array.write_empty_chunks": True}):
        written = zarr.open_array(theirs.path / "x", mode="r+")
    for index in spec.indices():
        write_shard(ours, "x", index, whole[spec.region(index)])
        written[spec.region(index)] = whole[spec.region(index)]
        own, zarrs = (group.shard_path("x", index).read_bytes() for group in (ours, theirs))
        assert chunks_of(spec, own) == chunks_of(spec, zarrs)
        n_chunks = [shard // chunk for shard, chunk in zip(spec.shards, spec.chunk_shape, strict=True)]
        assert own == zarrs or sum(n > 1 for n in n_chunks) > 1
    np.testing.assert_array_equal(zarr.open_array(ours.path / "x", mode="r")[...], whole)


def test_rows_of_a_shard_are_counted_from_its_own_start(make_run: MakeRun) -> None:
    group = layout(make_run(), "spikes")
    values = random_values(group, "spikes", (1, 2))
    write_shard(group, "spikes", (1, 2), values)
    np.testing.assert_array_equal(read_shard(group, "spikes", (1, 2), slice(990, 1010)), values[990:1010])
    np.testing.assert_array_equal(read_shard(group, "spikes", (1, 2), slice(-5, None)), values[-5:])


def test_chosen_segments_and_blocks_are_read_as_one_array(make_run: MakeRun) -> None:
    run = make_run({"simulation.duration_s": 7})
    group = layout(run, "spikes")
    for index in group.arrays["spikes"].indices():
        write_shard(group, "spikes", index, random_values(group, "spikes", index, seed=10 * index[0] + index[1]))
    part = read_array(group, "spikes", segments=[2, 3], blocks=[2, 3])
    np.testing.assert_array_equal(part, open_group(group).spikes.values[4000:7000, 100:200])


def test_zeros_are_written_as_a_file_like_any_other_values(make_run: MakeRun) -> None:
    group = layout(make_run(), "spikes")
    path = write_shard(group, "spikes", (0, 0), np.zeros(shape_of(group, "spikes", (0, 0)), dtype=bool))
    assert path.stat().st_size > 0
    require([path])
    assert not read_shard(group, "spikes", (0, 0)).any()


def test_shard_of_the_wrong_shape_or_type_is_not_written(make_run: MakeRun) -> None:
    group = layout(make_run(), "spikes")
    for values in (np.zeros((2000, 49), dtype=bool), np.zeros((2000, 50), dtype=np.uint8)):
        with pytest.raises(AssertionError, match="expected"):
            write_shard(group, "spikes", (0, 0), values)
    assert not group.shard_path("spikes", (0, 0)).exists()


# --- damage -----------------------------------------------------------------------------------------------------------------


def test_missing_shard_is_refused_by_name_and_never_read_as_zeros(make_run: MakeRun) -> None:
    group = layout(make_run(), "spikes")
    path = group.shard_path("spikes", (0, 0))
    with pytest.raises(StoreError, match=f"{path}.*missing; run snakemake"):
        read_shard(group, "spikes", (0, 0))
    with pytest.raises(StoreError, match=f"{path} and 11 more"):
        open_group(group)


@pytest.mark.parametrize("kept", [0, 1, 0.5, -1], ids=["nothing", "one byte", "half", "all but one byte"])
def test_truncated_shard_is_refused_by_name(make_run: MakeRun, kept: float) -> None:
    group = layout(make_run(), "spikes")
    path = write_shard(group, "spikes", (0, 0), random_values(group, "spikes", (0, 0)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(StoreError, match=f"{path}.*delete it"):
        read_shard(group, "spikes", (0, 0))


def test_writing_replaces_a_damaged_shard_also_a_short_last_one(make_run: MakeRun) -> None:
    group = layout(make_run({"simulation.duration_s": 7}), "spikes")
    values = random_values(group, "spikes", (3, 0))
    path = write_shard(group, "spikes", (3, 0), values)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    write_shard(group, "spikes", (3, 0), values)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("group_of", "array", "index"),
    [
        (lambda run: layout(run, "spikes"), "spikes", (0, 1)),
        (lambda run: layout(run, "state"), "v", (2, 3)),
        (lambda run: feature_output(run, "spike_counts"), "count", (1, 0)),
    ],
    ids=["spikes", "state", "feature"],
)
def test_any_flipped_bit_is_an_error_that_names_the_file_and_never_a_wrong_number(
    make_run: MakeRun, group_of: Callable[[RunConfig], Group], array: str, index: tuple[int, ...]
) -> None:
    group = group_of(make_run())
    values = np.random.default_rng(1).integers(0, 2, shape_of(group, array, index)).astype(group.arrays[array].dtype)
    path = write_shard(group, array, index, values)
    whole = path.read_bytes()
    chosen = random.Random(2).sample(range(8 * len(whole)), 60)
    for bit in chosen:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=str(path)):
            read_shard(group, array, index)
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_shard(group, array, index), values)


def test_verify_finds_nothing_in_a_whole_run_also_when_consolidated(full_run: RunConfig) -> None:
    assert verify(full_run) == []
    consolidate(full_run)
    assert verify(full_run) == []


def test_verify_names_missing_empty_damaged_and_orphan_files_and_nothing_else(full_run: RunConfig) -> None:
    spikes, state = layout(full_run, "spikes"), layout(full_run, "state")
    missing, empty = spikes.shard_path("spikes", (0, 0)), spikes.shard_path("spikes", (1, 1))
    damaged, orphan = state.shard_path("v", (0, 1)), spikes.shard_path("spikes", (0, 9))
    lost = store_path(full_run, "weights") / "1/weight/zarr.json"
    changed = store_path(full_run, "network") / "in_weight/zarr.json"
    missing.unlink()
    empty.write_bytes(b"")
    damaged.write_bytes(damaged.read_bytes()[:-3])
    orphan.write_bytes(b"x")
    lost.unlink()
    changed.write_bytes(changed.read_bytes()[:50])
    faults = verify(full_run)
    for path in (missing, empty, damaged, orphan, lost, changed):
        assert sum(str(path) in fault for fault in faults) == 1, path
    assert len([fault for fault in faults if "/weights.zarr/" not in fault and "/network.zarr/" not in fault]) == 4


def test_verify_blames_lost_in_degrees_and_not_the_synapses_they_count(full_run: RunConfig) -> None:
    path = layout(full_run, "network").shard_path("in_degree", (1,))
    path.unlink()
    assert [str(path) in fault for fault in verify(full_run)] == [True]


# --- metadata ---------------------------------------------------------------------------------------------------------------


def test_metadata_are_a_pure_function_of_the_configuration(make_run: MakeRun) -> None:
    first, second = make_run(TINY, folder="a"), make_run(TINY, folder="b")
    for store in OWNER:
        ours, theirs = (contents(store_path(run, store)) for run in (first, second))
        assert list(ours.values()) == list(theirs.values())
        assert len(ours) > 0
    for name in first.computed_features:
        ours, theirs = (contents(feature_output(run, name).path) for run in (first, second))
        assert list(ours.values()) == list(theirs.values())
        assert len(ours) > 0


def test_preparing_again_touches_nothing(full_run: RunConfig) -> None:
    folders = [*(store_path(full_run, store) for store in OWNER), *(output.path for output in item_outputs(full_run))]
    paths = [path for folder in folders for path in contents(folder)]
    before = times(paths)
    prepare(full_run)
    heal(full_run)
    assert times(paths) == before


def test_every_lost_zarr_json_is_restored_byte_for_byte(full_run: RunConfig) -> None:
    before = contents(full_run.folder)
    lost = [path for path in before if path.name == "zarr.json"]
    assert len(lost) > 50
    for path in lost:
        path.unlink()
    heal(full_run)
    assert contents(full_run.folder) == before


def test_lost_coordinates_are_restored(full_run: RunConfig) -> None:
    before = contents(full_run.folder)
    shutil.rmtree(store_path(full_run, "spikes") / "time")
    shutil.rmtree(store_path(full_run, "network") / "population")
    heal(full_run)
    assert contents(full_run.folder) == before


@pytest.mark.parametrize("of", ["zarr.json", "spikes/zarr.json", "time/zarr.json"])
@pytest.mark.parametrize("damaged", ["", "{", "5", "{}"])
def test_damaged_zarr_json_is_written_again_and_costs_no_shard(full_run: RunConfig, of: str, damaged: str) -> None:
    before = contents(full_run.folder)
    (store_path(full_run, "spikes") / of).write_text(damaged)
    prepare(full_run)
    assert contents(full_run.folder) == before


def changed_run(run: RunConfig, tmp_path: Path, changes: Mapping[str, Any]) -> RunConfig:
    """The same run, in the same folder, after an edit of its configuration."""
    changed = load_runs(small_config(tmp_path / "a", {**TINY, **changes}))[0]
    assert changed.folder == run.folder
    return changed


def test_growing_the_duration_keeps_every_shard_and_its_time(full_run: RunConfig, tmp_path: Path) -> None:
    shards = [path for path in contents(full_run.folder) if "/c/" in str(path) and "zarr/spikes" in str(path)]
    shards += layout(full_run, "state").shard_paths() + block_group(full_run, "weights", 1).shard_paths()
    before, values = times(shards), read_array(layout(full_run, "spikes"), "spikes")
    longer = changed_run(full_run, tmp_path, {"simulation.duration_s": 8})
    prepare(longer)
    assert times(shards) == before
    np.testing.assert_array_equal(read_array(layout(longer, "spikes"), "spikes", segments=range(3)), values)
    missing = [path for path in layout(longer, "spikes").shard_paths() if not path.exists()]
    assert missing == layout(longer, "spikes").shard_paths(segments=[3])


@pytest.mark.parametrize("durations_s", [(7, 8), (8, 7), (6, 7)], ids=str)
def test_a_short_last_segment_has_a_place_of_its_own_and_nothing_is_removed(tmp_path: Path, durations_s: tuple[int, int]) -> None:
    """A short segment's shard lacks chunks: where the segment is longer, these would read as zeros, and pass for whole."""
    first, other = (load_runs(small_config(tmp_path, {**TINY, "simulation.duration_s": s}))[0] for s in durations_s)
    prepare(first)
    fill_run(first)
    before = results(first)
    prepare(other)
    assert not [path for path in layout(other, "spikes").shard_paths() if path.exists()]
    assert results(first).items() >= before.items()


@pytest.mark.parametrize(
    "changes",
    [
        {"network.block_size": 20, "simulation.chunk_neurons": 20, "simulation.ranks": 1},
        {"simulation.chunk_ms": 1000},
        {"simulation.segment_s": 1},
        {"network.seed": 2},
        {"features.omega_synapses.tau_ms": 10.0},
    ],
    ids=["block size", "chunk", "segment", "network", "a feature"],
)
def test_another_configuration_has_another_place_and_the_old_results_stay(
    full_run: RunConfig, tmp_path: Path, changes: Mapping[str, Any]
) -> None:
    before = results(full_run)
    changed = changed_run(full_run, tmp_path, changes)
    prepare(changed)
    heal(changed)
    assert feature_output(changed, "omega_synapses").path != feature_output(full_run, "omega_synapses").path
    assert not [path for path in contents(feature_output(changed, "omega_synapses").path) if "c" in path.parts and "blocks" in path.parts]
    fill_run(changed)
    assert verify(changed) == []
    prepare(full_run)
    assert results(full_run).items() >= before.items()
    assert verify(full_run) == []


def results(run: RunConfig) -> dict[Path, bytes]:
    """Every file below a run's folder but those that say what is current."""
    found = contents(run.folder)
    return {path: content for path, content in found.items() if path.name != "config.json" and "current" not in path.parts}


def test_links_lead_to_what_is_current_and_nothing_else_is_replaced(full_run: RunConfig, tmp_path: Path) -> None:
    link, own = full_run.folder / "current" / "spikes.zarr", full_run.folder / "current" / "weights.zarr"
    assert link.resolve() == store_path(full_run, "spikes").resolve()
    own.unlink()
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    changed = changed_run(full_run, tmp_path, {"simulation.chunk_ms": 1000})
    prepare(changed)
    assert link.resolve() == store_path(changed, "spikes").resolve() != store_path(full_run, "spikes").resolve()
    assert (own / "notes.txt").read_text() == "mine"


def test_stores_of_an_earlier_version_are_named_and_left(full_run: RunConfig, caplog: pytest.LogCaptureFixture) -> None:
    old = full_run.folder / "spikes.zarr" / "zarr.json"
    old.parent.mkdir()
    old.write_text("{}")
    prepare(full_run)
    assert str(old.parent) in caplog.text
    assert old.read_text() == "{}"


# --- what xarray shows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", OWNER)
def test_every_store_opens_in_xarray_with_named_dimensions_and_units(full_run: RunConfig, store: StoreName) -> None:
    for consolidated in (False, True):
        if consolidated:
            consolidate(full_run)
        opened = xr.open_zarr(store_path(full_run, store), decode_timedelta=False, consolidated=consolidated)
        group = layout(full_run, store)
        assert set(group.arrays) <= set(opened.data_vars)
        for name, spec in group.arrays.items():
            assert opened[name].dims == spec.dims
            assert opened[name].chunks is not None
            assert opened[name].attrs["long_name"]
            if name != "stamp":
                assert opened[name].attrs["units"]


@pytest.mark.parametrize("name", ["spike_counts", "traces", "omega_pairs", "omega_synapses"])
def test_every_feature_opens_in_xarray_with_named_dimensions_and_units(full_run: RunConfig, name: str) -> None:
    groups = [feature_output(full_run, name), *(feature_block(full_run, *found) for found in feature_blocks(full_run) if found[0] == name)]
    for consolidated in (False, True):
        if consolidated:
            consolidate(full_run)
        for group in groups:
            place = None if group is groups[0] else str(group.path.relative_to(groups[0].path))
            opened = xr.open_zarr(groups[0].path, group=place, decode_timedelta=False, consolidated=consolidated)
            assert set(group.arrays) <= set(opened.data_vars)
            for array, spec in group.arrays.items():
                assert opened[array].dims == spec.dims
                assert opened[array].attrs["long_name"]
                assert opened[array].attrs["units"]
    assert any(group.arrays for group in groups)


@pytest.mark.parametrize("store", ["network", "spikes", "state", "spike_counts"])
def test_neurons_have_their_id_and_population(full_run: RunConfig, store: StoreName) -> None:
    path = feature_output(full_run, store).path if store in full_run.features else store_path(full_run, store)
    opened = xr.open_zarr(path, decode_timedelta=False, consolidated=False)
    np.testing.assert_array_equal(opened.neuron, np.arange(20))
    assert list(opened.population.values) == ["E"] * 16 + ["I"] * 4
    assert opened.population.dims == ("neuron",)


def test_time_is_in_ms_from_the_runs_start(full_run: RunConfig) -> None:
    spikes = open_group(layout(full_run, "spikes"))
    np.testing.assert_array_equal(spikes.time, np.arange(6000))
    counts, pairs = (open_group(feature_output(full_run, name)) for name in ("spike_counts", "omega_pairs"))
    np.testing.assert_array_equal(counts.time, np.arange(0, 6000, 50))
    np.testing.assert_array_equal(pairs.window, np.arange(0, 6000, 1000))
    state = open_group(layout(full_run, "state"))
    np.testing.assert_array_equal(state.boundary, [2000, 4000, 6000])
    for coordinate in (spikes.time, counts.time, pairs.window, state.boundary):
        assert coordinate.attrs["units"] == "ms"


def test_weights_are_stored_as_integers_and_shown_in_mv(full_run: RunConfig) -> None:
    group = block_group(full_run, "weights", 0)
    stored = np.full((1, SYNAPSES), 6 * UNITS_PER_MV, dtype=np.int32)
    write_shard(group, "weight", (0, 0), stored)
    opened = open_group(group)
    assert opened.weight.attrs["units"] == "mV"
    assert (opened.weight.values[0] == 6.0).all()
    assert read_shard(group, "weight", (0, 0)).dtype == np.int32


def _edit(path: Path, old: str, new: str) -> None:
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [('"separator": "/"', '"separator": "."'), ('"shape": [\n    6000', '"shape": [\n    2000'), ('"zarr_format"', '"zarr_fermat"')],
)
def test_damaged_metadata_change_nothing_that_is_read(full_run: RunConfig, old: str, new: str) -> None:
    """Arrays are opened as their layout says: zarr would read fill values, or fewer cells, without a word."""
    group = layout(full_run, "spikes")
    expected = read_array(group, "spikes")
    assert expected.any()
    path = group.path / "spikes/zarr.json"
    _edit(path, old, new)
    np.testing.assert_array_equal(read_array(group, "spikes"), expected)
    np.testing.assert_array_equal(open_group(group).spikes.values, expected)
    assert [fault for fault in verify(full_run) if str(path) in fault]


def test_damage_in_consolidated_metadata_is_told(full_run: RunConfig) -> None:
    consolidate(full_run)
    path = layout(full_run, "spikes").path / "zarr.json"
    assert [fault for fault in verify(full_run) if str(path) in fault] == []
    _edit(path, '"separator": "/"', '"separator": "."')
    assert [fault for fault in verify(full_run) if f"{path}: its consolidated metadata" in fault]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"simulation.weight_average": False},
        {"features": {}},
        {"features": {"omega_synapses": {}, "traces": {}, "more": {"kind": "traces"}}},
        {"simulation.record.neurons": [3]},
        {"simulation.record.synapses": [[4, 3]]},
    ],
)
def test_the_check_counts_the_shards_that_are_laid_out(make_run: MakeRun, changes: dict[str, Any]) -> None:
    run = make_run(changes)
    laid_out = dict.fromkeys(shards_per_block(run), 0)
    for store in OWNER:
        if OWNER[store] in laid_out and store != "records":
            laid_out[OWNER[store]] += len(layout(run, store).shard_paths(segments=[1], blocks=[2]))
    for store in BLOCK_STORES:
        laid_out[OWNER[store]] += len(block_layout(run, store, 2, SYNAPSES).shard_paths(segments=[1]))
    for name in run.computed_features:
        laid_out["features"] += len(feature_output(run, name).shard_paths(segments=[1], blocks=[2]))
        laid_out["features"] += len(feature_block(run, name, 2, SYNAPSES).shard_paths(segments=[1]))
    assert laid_out == shards_per_block(run)
    weights = recorded_synapses_layout(run, ANY_SYNAPSE).shard_paths(segments=[1]) if run.simulation.record.synapses else []
    assert record_shards(run) == len(layout(run, "records").shard_paths(segments=[1])) + len(weights)


@pytest.mark.parametrize("store", OWNER)
def test_formats_page_lists_every_array_with_its_dimensions_type_and_unit(make_run: MakeRun, store: StoreName) -> None:
    run = make_run(TINY)
    page = (REPOSITORY / "docs/formats.md").read_text(encoding="utf-8")
    described = page.partition(f"### {store}.zarr\n")[2].partition("\n### ")[0]
    groups = [layout(run, store)] + ([block_layout(run, store, 0, SYNAPSES)] if store in BLOCK_STORES else [])
    groups += [recorded_synapses_layout(run, ANY_SYNAPSE)] if store == "records" else []
    arrays = {name: array for group in groups for name, array in group.arrays.items()}
    listed = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (\w+) \|(.*?)\| ", described, flags=re.MULTILINE)
    assert {name: (dims, dtype, unit.strip()) for name, dims, dtype, unit in listed} == {
        name: (", ".join(array.dims), array.dtype, array.attrs.get("units", "")) for name, array in arrays.items()
    }


def test_formats_page_lists_every_array_of_items(make_run: MakeRun) -> None:
    run = make_run(TINY)
    page = (REPOSITORY / "docs/formats.md").read_text(encoding="utf-8")
    items = [(model.kind, model.output(run)) for name, model in run.models.items() if name != "tft_population"]
    items += [(method.kind, method.output(run)) for method in run.methods.values()]
    for feature in run.computed_features.values():
        of_run, of_block = feature.output(run), feature.block_output(run, 0, SYNAPSES)
        items.append((feature.kind, ({**of_run[0], **(of_block[0] if of_block else {})}, {})))
    for kind, (arrays, _) in items:
        described = page.partition(f"Of the kind `{kind}`")[2].partition("Of the kind")[0].partition("\n## ")[0]
        listed = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (\w+) \|(.*?)\| ", described, flags=re.MULTILINE)
        assert {name: (dims, dtype, unit.strip()) for name, dims, dtype, unit in listed} == {
            name: (", ".join(array.dims), array.dtype, array.attrs["units"]) for name, array in arrays.items()
        }
