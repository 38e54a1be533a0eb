"""What makes results other results, and what does not; and that compiled code follows its sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest
from conftest import REPOSITORY, SIMULATED, fingerprints, small_config, with_keys
from pydantic import Field

from spikelens.config import load_run, load_runs
from spikelens.config.models import Training
from spikelens.errors import StoreError
from spikelens.keys import keyed
from spikelens.layouts import layout
from spikelens.network.build import build_blocks
from spikelens.outputs import feature_output
from spikelens.prepare import heal
from spikelens.source_cache import NAME, kept
from spikelens.stores import open_group, read_shard, write_shard


def changed_stages(one, two):
    before, after = (fingerprints(load_runs(content)[0]) for content in (one, two))
    return [stage for stage in SIMULATED if before[stage] != after[stage]]


def reordered(content, section):
    """The same keys of a part of the network, in another order."""
    changed = with_keys(content, {})
    changed["network"][section] = dict(reversed(changed["network"][section].items()))
    return changed


@pytest.mark.parametrize("section", ["populations", "connections"])
def test_the_order_of_populations_and_connections_matters(tmp_path, section):
    """Ids follow the order of the populations, random numbers that of the connections."""
    content = small_config(tmp_path)
    assert changed_stages(content, reordered(content, section)) == list(SIMULATED)


@pytest.mark.parametrize(
    "changes",
    [
        {"simulation.ranks": 1},
        {"models.tft_neuron.ranks": 2},
        {"simulation.duration_s": 8},
        {"run.name": "other"},
        {"run.results": "elsewhere"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_ranks_duration_and_place_do_not_matter(tmp_path, changes):
    content = small_config(tmp_path, {"models.tft_neuron.parts": 2})
    late = ["models", "explanation", "report"] if "simulation.duration_s" in changes else []  # they are of the whole run
    assert changed_stages(content, with_keys(content, changes)) == late


class Grown(Training):
    """A section with keys that came later."""

    depth: Annotated[int, Field(json_schema_extra={"neutral": 1})] = 1
    shape: Annotated[tuple[int, int] | None, Field(json_schema_extra={"neutral": None})] = None
    mode: Annotated[str, Field(json_schema_extra={"neutral": "plain"})] = "better"


def test_a_key_that_came_later_counts_only_at_values_that_change_results(tmp_path):
    run = load_runs(small_config(tmp_path))[0]

    def grown(**later):
        return run.model_copy(update={"training": Grown(**run.training.model_dump(), **later)})

    same = grown(mode="plain")
    assert fingerprints(same) == fingerprints(run)
    assert keyed(same.training) == keyed(run.training)
    for other in ({}, {"mode": "plain", "depth": 2}, {"mode": "plain", "shape": (1, 2)}):
        found, before = fingerprints(grown(**other)), fingerprints(run)
        changed = [stage for stage in SIMULATED if found[stage] != before[stage]]
        assert changed == ["models", "explanation", "report"]


@pytest.mark.parametrize(("key", "first"), [("network.edges", "network"), ("drive.events", "simulation")])
def test_a_tables_content_matters_and_its_place_does_not(tmp_path, key, first):
    table, moved = tmp_path / "table.csv", tmp_path / "moved.csv"
    table.write_text("a,b\n1,2\n")
    shutil.copy(table, moved)
    changes = {"network.connections": {}} if key == "network.edges" else {}
    content = small_config(tmp_path, {**changes, key: str(table)})
    before = fingerprints(load_runs(content)[0])
    assert changed_stages(content, with_keys(content, {key: str(moved)})) == []
    table.write_text("a,b\n1,3,\n")
    after = fingerprints(load_runs(content)[0])
    assert [stage for stage in SIMULATED if after[stage] != before[stage]] == list(SIMULATED[SIMULATED.index(first) :])


def test_kept_hashes_are_those_of_these_sources_or_none(tmp_path):
    """Half a second of every command; but never the hash of other code."""
    package, computed = tmp_path / "spikelens", []
    package.mkdir()
    (package / "one.py").write_text("x = 1\n")

    def compute(stage):
        computed.append(stage)
        return f"{stage} of {(package / 'one.py').read_text()}"

    found = [kept(package, stage, compute) for stage in ("network", "features", "network")]
    assert computed == ["network", "features"]
    assert found == [compute(stage) for stage in ("network", "features", "network")]
    file = package / "__pycache__" / NAME
    for change in (
        lambda: (package / "one.py").write_text("x = 2\n"),
        lambda: (package / "two.py").touch(),
        lambda: (package / "two.py").rename(package / "three.py"),
        lambda: file.write_text(file.read_text().replace("x = 2", "x = 3")),
        lambda: file.write_text("[]"),
        lambda: file.write_bytes(b"\xff"),
        file.unlink,
    ):
        change()
        computed.clear()
        assert kept(package, "network", compute) == f"network of {(package / 'one.py').read_text()}"
        assert kept(package, "network", compute) == f"network of {(package / 'one.py').read_text()}"
        assert computed == ["network"], "computed once"
    file.unlink()
    file.mkdir()  # it cannot be written
    assert kept(package, "network", compute) == compute("network")


def test_nothing_made_by_another_configuration_passes_for_this_ones(make_run):
    run = make_run()
    build_blocks(run, range(run.n_blocks))
    group = feature_output(run, "spike_counts")
    write_shard(group, "count", (0, 0), np.ones(group.arrays["count"].shards, np.uint16))
    stored = read_shard(layout(run, "network"), "in_degree", (0,))
    other = make_run({"features.spike_counts.step_ms": 20})
    assert other.path == run.path
    with pytest.raises(StoreError, match="shard is missing"):
        read_shard(feature_output(other, "spike_counts"), "count", (0, 0))
    np.testing.assert_array_equal(read_shard(layout(other, "network"), "in_degree", (0,)), stored)


@pytest.mark.parametrize("content", [None, "", '{"run": {"a_key_of_an_older_version": 1}}'])
def test_a_lost_or_outdated_config_json_is_written_again(make_run, content):
    run = make_run()
    path = run.folder / "config.json"
    before = path.read_text()
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    heal(run)
    assert path.read_text() == before
    assert load_run(run.folder) == run


def test_lost_metadata_are_restored_by_whoever_opens_the_store(make_run):
    run = make_run()
    build_blocks(run, range(run.n_blocks))
    group = layout(run, "network")
    for name in ("zarr.json", "in_degree/zarr.json", "neuron/c/0"):
        (group.path / name).unlink()
    assert read_shard(group, "in_degree", (0,)).sum() > 0
    opened = open_group(group)
    assert int(opened.in_degree.sum()) > 0
    assert opened.neuron.values.tolist() == list(range(200))


def test_compiled_code_follows_a_change_in_a_file_that_its_own_calls(tmp_path, make_run):
    """run_steps stands in run.py and calls kernel.py: numba alone would go on with the old kernel."""
    run = make_run()
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "src")}
    build_blocks(run, range(run.n_blocks))

    def n_spikes():
        script = "import sys; from spikelens.config import load_run; from spikelens.prepare import prepare; prepare(load_run(sys.argv[1]))"
        script += "; from spikelens.network.build import build_blocks; run = load_run(sys.argv[1]); build_blocks(run, range(run.n_blocks))"
        script += "; from spikelens.simulation.run import simulate_segment; from spikelens.layouts import layout"
        script += "; from spikelens.stores import read_shard"
        script += "; simulate_segment(run, 0); spikes = layout(run, 'spikes')"
        script += "; print(sum(int(read_shard(spikes, 'spikes', (0, block)).sum()) for block in range(run.n_blocks)))"
        command = [sys.executable, "-c", script, run.path]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert finished.returncode == 0, finished.stderr
        return int(finished.stdout)

    before = n_spikes()
    kernel = tmp_path / "src/spikelens/simulation/kernel.py"
    source = kernel.read_text()
    assert "_THRESHOLD_MV = np.float32(30.0)" in source
    kernel.write_text(source.replace("_THRESHOLD_MV = np.float32(30.0)", "_THRESHOLD_MV = np.float32(20.0)"))
    assert 100 < before != n_spikes()
