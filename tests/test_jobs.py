"""What jobs.py says of a run: each file has one job.

That snakemake's rules say the same, tests/test_status.py holds against its own summary.
"""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import small_config

from spikelens import plan, speeds
from spikelens.config import load_runs
from spikelens.jobs import jobs_of, work_of
from spikelens.stores import ANY_SYNAPSE, BLOCK_STORES, block_layout, item_outputs, layout, recorded_synapses_layout, stores_of

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
    features, job = work["features"], work["features"].jobs[5]
    assert job.log == f"{features.folder}/logs/2-1.log"
    assert (job.made, job.manifest) == (f"{features.folder}/done/2-1.made", f"{features.folder}/manifests/2-1.json")
    assert features.paths[0] == f"{features.folder}/features.zarr/count/c/{{segment}}/{{block}}"
    assert job.files[0] == f"{features.folder}/features.zarr/count/c/2/1"
    assert [job.numbers["segment"] for job in work["simulation"].jobs] == [0, 1, 2, 3]
