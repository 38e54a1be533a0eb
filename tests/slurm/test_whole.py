"""The whole workflow on the cluster, simulation and a training on two nodes each: the same results as on one core."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from conftest import MODEL_NAMES
from projects import RUN, TWO_BLOCKS, Project

from slurm.conftest import stored
from slurm.workflow import OnCluster

pytestmark = pytest.mark.slow

SHARED = {**TWO_BLOCKS, "models.tft_neuron.parts": 2, "simulation.ranks": 1}
SPREAD = {"simulation.ranks": 2, "models.tft_neuron.ranks": 2, "cluster.ranks_per_node": 1}


def test_every_stage_runs_on_the_cluster_to_the_same_bytes_and_then_nothing_is_left_to_do(cluster, tmp_path):
    here = Project.new(tmp_path / "here", SHARED)
    here.run()
    there = OnCluster(Project.new(tmp_path / "there", {**SHARED, **SPREAD}).folder)
    submitted = re.findall(r"SLURM jobid (\d+) \(log: \S+?/slurm_logs/(\w+?)/", there.run())
    n_nodes = Counter()
    for job, rule in submitted:
        n_nodes[rule, re.search(r"NumNodes=(\d+)", cluster.ask("scontrol", "show", "--oneliner", "job", job)[0])[1]] += 1
    assert len(submitted) == 12, "network, three segments, features, three models, three methods, explanation and report"
    assert {rule: n for (rule, nodes), n in n_nodes.items() if nodes == "2"} == {"rule_simulate": 3, "rule_train": 1}
    assert stored(there.results) == stored(here.results)
    for name in MODEL_NAMES:
        weights = f"current/models/{name}/1/weights.safetensors"
        assert (there.results / weights).read_bytes() == (here.results / weights).read_bytes()
    there.verify()
    done, jobs = re.match(rf"{RUN}: (\d+) of (\d+) jobs done", there.spikelens("status", RUN).stdout).groups()
    assert done == jobs
    assert "Nothing to be done" in there.run()
    assert there.jobs() == []
