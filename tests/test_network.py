"""The network's promises: the rules draw what they say, and the division into blocks does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import small_config
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spikelens.config import load_runs
from spikelens.errors import NetworkError
from spikelens.network.build import build_blocks, drawn_synapses
from spikelens.stores import UNITS_PER_MV, block_group, layout, n_synapses, open_group, read_array, read_shard

NAMES = ("source", "target", "delay", "weight", "plastic")


def drawn(tmp_path, changes=None):
    """All synapses of a small network, without files."""
    run = load_runs(small_config(tmp_path, changes))[0]
    parts = [drawn_synapses(run, block) for block in range(run.n_blocks)]
    return run, {name: np.concatenate([getattr(part, name) for part in parts]) for name in NAMES}


@settings(max_examples=10, deadline=None)
@given(block_size=st.integers(5, 200), seed=st.integers(0, 2**63 - 1))
def test_the_network_does_not_depend_on_the_block_size(tmp_path_factory, block_size, seed):
    folder = tmp_path_factory.mktemp("network")
    fixed = {
        "rule": "fixed_indegree",
        "in_degree": 7,
        "weight_mv": 1.0,
        "delay_ms": [2, 9],
    }
    keys = {"network.seed": seed, "network.connections.E->I": fixed, "simulation.ranks": 1}
    blocks = {"network.block_size": block_size, "simulation.chunk_neurons": block_size}
    _, whole = drawn(folder, {**keys, "network.block_size": 200, "simulation.chunk_neurons": 200})
    _, divided = drawn(folder, {**keys, **blocks})
    for name in NAMES:
        np.testing.assert_array_equal(divided[name], whole[name])


def test_synapses_are_ordered_and_no_neuron_connects_to_itself(tmp_path):
    _, synapses = drawn(tmp_path)
    order = np.lexsort((synapses["delay"], synapses["source"], synapses["target"]))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    assert (synapses["source"] != synapses["target"]).all()
    pairs = synapses["source"].astype(np.int64) * 200 + synapses["target"]
    assert len(np.unique(pairs)) == len(pairs)


def test_bernoulli_connects_each_pair_with_its_probability_and_uniform_delays(tmp_path):
    _, synapses = drawn(tmp_path, {"network.seed": 12})
    excitatory = synapses["source"] < 160
    onto_e = synapses["target"] < 160
    for chosen, pairs, p in (
        (excitatory & onto_e, 160 * 159, 0.3),
        (excitatory & ~onto_e, 160 * 40, 0.3),
        (~excitatory & onto_e, 40 * 160, 0.4),
    ):
        assert stats.binomtest(int(chosen.sum()), pairs, p).pvalue > 1e-3
    assert not (~excitatory & ~onto_e).any()
    counts = np.bincount(synapses["delay"][excitatory], minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 1e-3
    assert (synapses["delay"][~excitatory] == 1).all()
    # every source is met equally often: gaps do not favour the front of the range
    out_degree = np.bincount(synapses["source"][excitatory & onto_e], minlength=160)
    assert stats.kstest((out_degree - 159 * 0.3) / np.sqrt(159 * 0.3 * 0.7), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("p", "expected"), [(0.0, 0), (1.0, 160 * 159)])
def test_bernoulli_with_certainty(tmp_path, p, expected):
    _, synapses = drawn(tmp_path, {"network.connections.E->E.p": p})
    onto_itself = (synapses["source"] < 160) & (synapses["target"] < 160)
    assert onto_itself.sum() == expected


def test_out_degree_means_so_many_targets_on_average(tmp_path):
    rule = {"rule": "bernoulli", "out_degree": 25.0, "weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True}
    _, synapses = drawn(tmp_path, {"network.connections.E->E": rule})
    onto_itself = (synapses["source"] < 160) & (synapses["target"] < 160)
    assert stats.binomtest(int(onto_itself.sum()), 160 * 159, 25 / 160).pvalue > 1e-3


def test_fixed_indegree_gives_every_target_so_many_distinct_sources_all_alike(tmp_path):
    rule = {"rule": "fixed_indegree", "in_degree": 30, "weight_mv": 6.0, "delay_ms": [3, 5], "plastic": True}
    _, synapses = drawn(tmp_path, {"network.connections.E->E": rule})
    chosen = (synapses["source"] < 160) & (synapses["target"] < 160)
    source, target = synapses["source"][chosen], synapses["target"][chosen]
    np.testing.assert_array_equal(np.bincount(target, minlength=160), 30)
    assert len(np.unique(source.astype(np.int64) * 160 + target)) == len(source)
    assert (source != target).all()
    assert stats.chisquare(np.bincount(source, minlength=160)).pvalue > 1e-3
    assert set(np.unique(synapses["delay"][chosen])) == {3, 4, 5}


def test_another_seed_is_another_network(tmp_path):
    (_, one), (_, two) = drawn(tmp_path, {"network.seed": 1}), drawn(tmp_path, {"network.seed": 2})
    pairs = [set(zip(s["source"], s["target"], strict=True)) for s in (one, two)]
    assert len(pairs[0] & pairs[1]) < 0.5 * len(pairs[0])


def test_statistics_stand_beside_the_synapses(make_run):
    run = make_run()
    build_blocks(run, range(run.n_blocks))
    groups = [block_group(run, "network", block) for block in range(run.n_blocks)]
    target, weight, delay = (np.concatenate([read_shard(g, name, (0,)) for g in groups]) for name in ("target", "weight", "delay"))
    root = layout(run, "network")
    np.testing.assert_array_equal(read_array(root, "in_degree"), np.bincount(target, minlength=200))
    np.testing.assert_array_equal(read_array(root, "in_weight"), np.bincount(target, weight, 200))
    np.testing.assert_array_equal(read_array(root, "delay_histogram").sum(axis=0), np.bincount(delay, minlength=256))
    shown = open_group(root)
    assert shown.in_weight.attrs["units"] == "mV"
    np.testing.assert_allclose(shown.in_weight.values, np.bincount(target, weight / UNITS_PER_MV, 200))
    assert set(shown.population.values) == {"E", "I"}


def test_a_block_without_synapses_is_no_special_case_for_its_readers(make_run):
    """Inhibitory neurons alone in their block, and nothing connects to them."""
    run = make_run({"network.connections.E->I.p": 0.0, "network.block_size": 40, "simulation.chunk_neurons": 40})
    build_blocks(run, range(run.n_blocks))
    assert n_synapses(run, 4) == 0
    group = block_group(run, "network", 4)
    assert read_shard(group, "weight", (0,)).tolist() == [0]


def test_weights_beyond_the_integer_range_are_refused_with_the_neuron(make_run):
    run = make_run({"network.connections.I->E.weight_mv": -3000.0})
    with pytest.raises(NetworkError, match=r"neuron \d+: the weights onto it may add up to \d+ mV; expected less than 32,768 mV"):
        build_blocks(run, [0])
