"""What jobs.py says of a run: each file has one job.

That snakemake's rules say the same, tests/test_status.py holds against its own summary.
"""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import small_config

from spikelens import plan, speeds
from spikelens.config import load_runs
from spikelens.features.stage import JOB_NEURONS, blocks_per_job
from spikelens.jobs import jobs_of, work_of
from spikelens.layouts import BLOCK_STORES, block_layout, layout, recorded_synapses_layout, stores_of
from spikelens.outputs import feature_block, feature_blocks, item_outputs
from spikelens.simulation.layout import ANY_SYNAPSE

RECORD = {"every_ms": 10, "neurons": [5, 6], "synapses": [[5, 6]]}
SHORT_ENDS = {"network.block_size": 150, "simulation.chunk_neurons": 150, "simulation.duration_s": 7, "simulation.record": RECORD}


@pytest.fixture
def run(tmp_path):
    """Of two blocks and four segments, the last of each short."""
    return load_runs(small_config(tmp_path, SHORT_ENDS))[0]


def test_each_shard_of_each_layout_has_one_job(run):
    groups = [layout(run, store) for store in stores_of(run)] + [recorded_synapses_layout(run, ANY_SYNAPSE)]
    groups += [block_layout(run, store, block, 10) for store in BLOCK_STORES for block in range(run.n_blocks)]
    groups += item_outputs(run)
    groups += [feature_block(run, name, block, 10) for name, block in feature_blocks(run)]
    shards = [str(path.relative_to(run.folder)) for group in groups for path in group.shard_paths()]
    written = [file for job in jobs_of(run) for file in job.files]
    assert sorted(file for file in written if ".zarr/" in file) == sorted(shards)
    assert len(set(written)) == len(written)


def test_there_are_as_many_jobs_as_are_planned_each_with_its_own_log(run):
    jobs = list(jobs_of(run))
    planned = {row.rule: row.jobs for row in plan.plan_run(run, speeds.shipped(), 8.0).rules}
    assert Counter(job.rule for job in jobs) == planned
    assert len({job.log for job in jobs}) == len({job.benchmark for job in jobs}) == len(jobs)


def test_a_job_is_named_by_its_numbers(run):
    work = {work.rule: work for work in work_of(run)}
    counts, job = work["features.spike_counts"], work["features.spike_counts"].jobs[2]
    assert job.log == f"{counts.folder}/logs/2-0.log"
    assert (job.made, job.manifest) == (f"{counts.folder}/done/2-0.made", f"{counts.folder}/manifests/2-0.json")
    assert counts.paths[0] == f"{counts.folder}/output.zarr/count/c/{{segment}}/{{block}}"
    assert job.files[0] == f"{counts.folder}/output.zarr/count/c/2/0"
    traces = work["features.traces"]
    assert traces.paths == (f"{traces.folder}/output.zarr/blocks/{{block}}/trace/c/{{segment}}/0",)
    assert traces.jobs[2].files == [f"{traces.folder}/output.zarr/blocks/{block}/trace/c/2/0" for block in (0, 1)]
    assert [job.numbers["segment"] for job in work["simulation"].jobs] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("block_size", "blocks"),
    [(200, [[0]]), (50, [[0, 1, 2, 3]]), (2, [list(range(100))])],
)
def test_a_job_of_a_feature_computes_all_blocks_of_about_4_000_neurons(tmp_path, block_size, blocks):
    changes = {"network.block_size": block_size, "simulation.chunk_neurons": block_size, "simulation.ranks": 1, "features": {"traces": {}}}
    run = load_runs(small_config(tmp_path, changes))[0]
    jobs = [job for job in jobs_of(run) if job.rule == "features.traces"]
    assert [list(job.blocks) for job in jobs if job.numbers["segment"] == 0] == blocks
    assert len(jobs) == run.n_segments * len(blocks)


def test_many_blocks_are_divided_among_jobs_without_a_gap(tmp_path):
    changes = {
        "network.neurons": 10_000,
        "network.populations.E.count": 8_000,
        "network.populations.I.count": 2_000,
        "network.block_size": 1_500,
        "simulation.chunk_neurons": 1_500,
        **{f"network.connections.{name}.p": 0.001 for name in ("E->E", "E->I", "I->E")},
    }
    run = load_runs(small_config(tmp_path, changes))[0]
    jobs = [job for job in jobs_of(run) if job.rule == "features.spike_counts" and job.numbers["segment"] == 1]
    assert blocks_per_job(run) == JOB_NEURONS // 1_500 == 2
    assert [list(job.blocks) for job in jobs] == [[0, 1], [2, 3], [4, 5], [6]]
    assert [job.name for job in jobs] == ["1-0", "1-2", "1-4", "1-6"]
