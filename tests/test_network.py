"""Building the network: distributions of the connection rules, and independence of the block size."""

from __future__ import annotations

import hashlib
import itertools
import re

import numba as nb
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, small_config, with_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spikelens.config import expected_synapses, load_runs, read_yaml
from spikelens.errors import NetworkError
from spikelens.layouts import block_group, layout, n_synapses
from spikelens.network.build import build_blocks, drawn_synapses, read_edges, warn_if_implausible
from spikelens.network.outdegree import fixed_outdegree, hypergeometric, mode_chance
from spikelens.numerics import UNITS_PER_MV
from spikelens.random import uniform, words
from spikelens.stores import open_group, read_array, read_shard

NAMES = ("source", "target", "delay", "weight", "plastic")


CELL = {"a": 0.02, "b": 0.2, "c": -65.0, "d": 8.0}
WEIGHTS = {"weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True}


def populations(**counts):
    """Keys of a network with other populations and without connections."""
    total = sum(counts.values())
    return {
        "network.neurons": total,
        "network.block_size": total,
        "network.populations": {name: {"count": count, **CELL} for name, count in counts.items()},
        "network.connections": {},
        "simulation.chunk_neurons": total,
        "simulation.ranks": 1,
        "simulation.segment_s": 1,
    }


def drawn(tmp_path, changes=None):
    """All synapses of a small network, drawn without writing files."""
    return drawn_from(small_config(tmp_path, changes))


def drawn_from(content):
    run = load_runs(content)[0]
    parts = [drawn_synapses(run, block) for block in range(run.n_blocks)]
    return run, {name: np.concatenate([getattr(part, name) for part in parts]) for name in NAMES}


@settings(max_examples=10, deadline=None)
@given(block_size=st.integers(5, 200), seed=st.integers(0, 2**63 - 1))
def test_the_network_does_not_depend_on_the_block_size(tmp_path_factory, block_size, seed):
    folder = tmp_path_factory.mktemp("network")
    connections = {
        "I->E": {"rule": "fixed_outdegree", "out_degree": 40, "weight_mv": -1.0, "delay_ms": [1, 3]},
        "E->E": {"rule": "bernoulli", "p": 0.3, "weight_mv": {"distribution": "lognormal", "mean_mv": 2, "sd_mv": 1}, "delay_ms": [1, 20]},
        "E->I": {
            "rule": "fixed_indegree",
            "in_degree": 7,
            "weight_mv": 1.0,
            "delay_ms": {"distribution": "normal", "mean_ms": 5, "sd_ms": 2, "first_ms": 2, "last_ms": 9},
        },
        "I->I": {"rule": "fixed_outdegree", "out_degree": 39, "weight_mv": -1.0, "delay_ms": [1, 3]},
    }
    keys = {"network.seed": seed, "network.connections": connections, "simulation.ranks": 1}
    blocks = {"network.block_size": block_size, "simulation.chunk_neurons": block_size}
    _, whole = drawn(folder, {**keys, "network.block_size": 200, "simulation.chunk_neurons": 200})
    _, divided = drawn(folder, {**keys, **blocks})
    for name in NAMES:
        np.testing.assert_array_equal(divided[name], whole[name])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "18f2a22d7321f122f58afc8b75ba0b90fdd7212af541a0a2de37c8f96a8a1aab"),
        (
            {
                "network.connections": {
                    "I->E": {"rule": "bernoulli", "p": 0.125, "weight_mv": -5.0, "delay_ms": [1, 1], "plastic": False},
                    "E->I": {"rule": "bernoulli", "p": 0.1, "weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True},
                    "E->E": {"rule": "fixed_indegree", "in_degree": 30, "weight_mv": 6.0, "delay_ms": [3, 5], "plastic": True},
                }
            },
            "fb461c94ee2bec4aad07e185419e99d1ffdb977ff3fddc799f3dd04a29801dfe",
        ),
    ],
    ids=["config.yaml", "fixed_indegree, other order"],
)
def test_the_reference_network_has_not_changed(changes, expected):
    """Checksums of the synapses in version 0.1.0, on which published results depend."""
    _, synapses = drawn_from(with_keys(read_yaml(REPOSITORY / "config.yaml"), changes))
    checksum = hashlib.sha256()
    for name in NAMES:
        checksum.update(synapses[name].tobytes())
    assert checksum.hexdigest() == expected


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
    # all sources are equally likely: gaps do not favour the start of the range
    out_degree = np.bincount(synapses["source"][excitatory & onto_e], minlength=160)
    assert stats.kstest((out_degree - 159 * 0.3) / np.sqrt(159 * 0.3 * 0.7), "norm").pvalue > 1e-3


@pytest.mark.parametrize(("p", "expected"), [(0.0, 0), (1.0, 160 * 159)])
def test_bernoulli_with_certainty(tmp_path, p, expected):
    _, synapses = drawn(tmp_path, {"network.connections.E->E.p": p})
    onto_itself = (synapses["source"] < 160) & (synapses["target"] < 160)
    assert onto_itself.sum() == expected


def test_out_degree_is_the_mean_number_of_targets(tmp_path):
    rule = {"rule": "bernoulli", "out_degree": 25.0, "weight_mv": 6.0, "delay_ms": [1, 20], "plastic": True}
    _, synapses = drawn(tmp_path, {"network.connections.E->E": rule})
    onto_itself = (synapses["source"] < 160) & (synapses["target"] < 160)
    assert stats.binomtest(int(onto_itself.sum()), 160 * 159, 25 / 160).pvalue > 1e-3


def test_fixed_indegree_gives_each_target_a_uniform_random_set_of_sources(tmp_path):
    rule = {"rule": "fixed_indegree", "in_degree": 30, "weight_mv": 6.0, "delay_ms": [3, 5], "plastic": True}
    _, synapses = drawn(tmp_path, {"network.connections.E->E": rule})
    chosen = (synapses["source"] < 160) & (synapses["target"] < 160)
    source, target = synapses["source"][chosen], synapses["target"][chosen]
    np.testing.assert_array_equal(np.bincount(target, minlength=160), 30)
    assert len(np.unique(source.astype(np.int64) * 160 + target)) == len(source)
    assert (source != target).all()
    assert stats.chisquare(np.bincount(source, minlength=160)).pvalue > 1e-3
    assert set(np.unique(synapses["delay"][chosen])) == {3, 4, 5}


@nb.njit
def hypergeometric_numbers(size, left, drawn, n):
    chance, out = mode_chance(size, left, drawn), np.empty(n, np.int64)
    for i in range(n):
        high, low, _, _ = words(7, 1, i, 0)
        out[i] = hypergeometric(uniform(high, low), size, left, drawn, chance)
    return out


def well_fitting(counts, expected):
    """Chi-square test of counts, with rare classes merged."""
    order = np.argsort(expected)
    rare = np.cumsum(expected[order]) < 10
    rare[: rare.sum() + 1] = rare.any()
    pooled = [np.append(values[order][~rare], values[order][rare].sum()) for values in (counts, expected)]
    kept = pooled[1] > 0
    return not pooled[0][~kept].any() and (kept.sum() < 2 or stats.chisquare(pooled[0][kept], pooled[1][kept]).pvalue > 1e-3)


@pytest.mark.parametrize(
    ("size", "left", "drawn"),
    [(2, 1, 1), (9, 4, 9), (9, 4, 8), (65, 32, 17), (101, 50, 100), (799, 399, 80), (10**6, 5 * 10**5, 100), (10**6 - 1, 1000, 5000)],
)
def test_hypergeometric_numbers_have_the_hypergeometric_distribution(size, left, drawn):
    law = stats.hypergeom(size, left, drawn)
    n = 100_000
    numbers = hypergeometric_numbers(size, left, drawn, n)
    possible = np.arange(drawn + 1)
    assert well_fitting(np.bincount(numbers, minlength=drawn + 1), law.pmf(possible) * n)
    assert mode_chance(size, left, drawn) == pytest.approx(law.pmf(possible).max(), rel=1e-8)


@pytest.mark.parametrize("size", [2, 65, 799])
def test_hypergeometric_numbers_are_in_range_for_extreme_fractions(size):
    for drawn in range(1, size + 1):
        left = size // 2
        possible = range(max(0, drawn - (size - left)), min(left, drawn) + 1)
        chance = mode_chance(size, left, drawn)
        assert all(hypergeometric(fraction, size, left, drawn, chance) in possible for fraction in (2.0**-53, 0.5, 1 - 2.0**-53, 1.0))


@pytest.mark.parametrize(("out_degree", "n"), [(3, 300), (30, 300), (250, 300), (299, 300), (100, 3000)])
def test_fixed_outdegree_gives_each_source_a_uniform_random_set_of_targets(out_degree, n):
    n_sources = 3000
    within_itself = n == n_sources
    sources = (0, n) if within_itself else (n, n + n_sources)
    in_degree, source = fixed_outdegree(3, 1 << 16, sources, (0, n), (0, n), out_degree)
    target = np.repeat(np.arange(n), in_degree)
    assert (np.bincount(source, minlength=sources[1])[sources[0] :] == out_degree).all()
    assert len(np.unique(source.astype(np.int64) * n + target)) == len(source)
    assert not (source == target).any()
    # each source connects to each target with the same probability, independently of other sources
    candidates = n - within_itself
    law = stats.binom(n_sources - within_itself, out_degree / candidates)
    assert stats.kstest(law.cdf(in_degree) - law.pmf(in_degree) * np.random.default_rng(1).random(n), "uniform").pvalue > 1e-3
    # all sets are equally likely: the number of a source's targets in any part is hypergeometric
    part = (target >= n // 7) & (target < n // 3)
    inside = np.bincount(source[part], minlength=sources[1])[sources[0] :]
    chosen = np.ones(n_sources, bool)
    if within_itself:
        chosen[n // 7 : n // 3] = False  # these have one candidate fewer in this part
    possible = np.arange(out_degree + 1)
    expected = stats.hypergeom(candidates, n // 3 - n // 7, out_degree).pmf(possible) * chosen.sum()
    assert well_fitting(np.bincount(inside[chosen], minlength=out_degree + 1), expected)


def test_fixed_outdegree_of_a_large_network_does_not_depend_on_the_block_size():
    sources, targets = (0, 200), (1000, 1_001_000)
    whole = fixed_outdegree(5, 1 << 16, sources, targets, targets, 100)
    edges = [1000, 1001, 7777, 63_500, 501_000, 501_001, 1_000_999, 1_001_000]
    parts = [fixed_outdegree(5, 1 << 16, sources, targets, within, 100) for within in itertools.pairwise(edges)]
    for k in range(2):
        np.testing.assert_array_equal(np.concatenate([part[k] for part in parts]), whole[k])


def test_three_populations_with_a_rule_for_each_pair(tmp_path):
    """Each connection has its own degrees, although three share their targets and are unsorted."""
    connections = {
        "C->A": {"rule": "fixed_indegree", "in_degree": 9, "weight_mv": -1.0, "delay_ms": [2, 2]},
        "A->A": {"rule": "fixed_outdegree", "out_degree": 25, **WEIGHTS},
        "B->A": {"rule": "bernoulli", "p": 1.0, "weight_mv": 2.0, "delay_ms": [3, 3]},
        "A->C": {"rule": "fixed_outdegree", "out_degree": 20, **WEIGHTS},
        "A->B": {"rule": "fixed_indegree", "in_degree": 70, **WEIGHTS},
        "C->C": {"rule": "bernoulli", "out_degree": 5.0, "weight_mv": -1.0, "delay_ms": [2, 2]},
    }
    run, synapses = drawn(
        tmp_path,
        {**populations(A=100, B=7, C=50), "network.connections": connections, "network.block_size": 30, "simulation.chunk_neurons": 30},
    )
    source, target = synapses["source"].astype(np.int64), synapses["target"]
    keys = target * 157 * 256 + source * 256 + synapses["delay"]
    assert (np.diff(keys) > 0).all()
    assert len(np.unique(source * 157 + target)) == len(source)
    assert (source != target).all()
    joined = dict.fromkeys(connections, 0)
    for key, connection in connections.items():
        (first, end), (target_first, target_end) = (run.populations[name] for name in key.split("->"))
        own = (source >= first) & (source < end) & (target >= target_first) & (target < target_end)
        joined[key] = own.sum()
        weight, delays = connection["weight_mv"], connection["delay_ms"]
        assert (synapses["weight"][own] == weight * UNITS_PER_MV).all()
        assert (synapses["plastic"][own] == connection.get("plastic", False)).all()
        assert (synapses["delay"][own].min(), synapses["delay"][own].max()) == tuple(delays)
        if "in_degree" in connection:
            assert (np.bincount(target[own], minlength=157)[target_first:target_end] == connection["in_degree"]).all()
        if connection["rule"] == "fixed_outdegree":
            assert (np.bincount(source[own], minlength=157)[first:end] == connection["out_degree"]).all()
    assert sum(joined.values()) == len(source)
    assert joined["B->A"] == 700


def test_expected_synapses_and_longest_delay_match_the_network(tmp_path):
    """The expected number of synapses, and the longest delay, for which the simulation stores spikes."""
    delays = {"distribution": "lognormal", "mean_ms": 30.0, "sd_ms": 20.0, "first_ms": 5, "last_ms": 40}
    connections = {
        "E->E": {"rule": "fixed_outdegree", "out_degree": 25, **WEIGHTS, "delay_ms": delays},
        "I->E": {"rule": "fixed_indegree", "in_degree": 9, **WEIGHTS},
    }
    run, synapses = drawn(tmp_path, {"network.connections": connections})
    assert expected_synapses(run.network) == len(synapses["source"]) == 160 * 25 + 160 * 9
    assert run.max_delay == synapses["delay"].max() == 40


def test_populations_of_one_neuron(tmp_path):
    connections = {
        "A->B": {"rule": "fixed_outdegree", "out_degree": 1, **WEIGHTS},
        "B->A": {"rule": "fixed_indegree", "in_degree": 1, **WEIGHTS},
        "A->A": {"rule": "bernoulli", "p": 1.0, **WEIGHTS},
        "C->A": {"rule": "bernoulli", "p": 1.0, **WEIGHTS},
        "C->C": {"rule": "fixed_outdegree", "out_degree": 2, **WEIGHTS},
    }
    _, synapses = drawn(tmp_path, {**populations(A=1, B=1, C=3), "network.connections": connections})
    pairs = list(zip(synapses["source"].tolist(), synapses["target"].tolist(), strict=True))
    assert pairs == [(1, 0), (2, 0), (3, 0), (4, 0), (0, 1), (3, 2), (4, 2), (2, 3), (4, 3), (2, 4), (3, 4)]


def truncated(law, low, high):
    """Distribution function of a distribution truncated to its bounds."""
    return lambda x: (law.cdf(x) - law.cdf(low)) / (law.cdf(high) - law.cdf(low))


def lognormal(mean, sd):
    variance = np.log1p((sd / mean) ** 2)
    return stats.lognorm(np.sqrt(variance), scale=mean * np.exp(-variance / 2))


@pytest.mark.parametrize(
    ("weight", "plastic", "law", "low", "high"),
    [
        ({"distribution": "uniform", "low_mv": 2.0, "high_mv": 5.0}, True, stats.uniform(2, 3), 2, 5),
        ({"distribution": "uniform", "low_mv": -5.0, "high_mv": -2.0}, False, stats.uniform(-5, 3), -5, -2),
        ({"distribution": "normal", "mean_mv": 8.0, "sd_mv": 3.0}, True, stats.norm(8, 3), 0, 10),
        ({"distribution": "normal", "mean_mv": 1.0, "sd_mv": 3.0}, False, stats.norm(1, 3), 0, 32_767),
        ({"distribution": "normal", "mean_mv": -1.0, "sd_mv": 3.0, "low_mv": -4.0}, False, stats.norm(-1, 3), -4, 0),
        ({"distribution": "lognormal", "mean_mv": 3.0, "sd_mv": 4.0}, True, lognormal(3, 4), 0, 10),
        ({"distribution": "lognormal", "mean_mv": 3.0, "sd_mv": 1.0, "low_mv": 1.0, "high_mv": 4.0}, True, lognormal(3, 1), 1, 4),
    ],
)
def test_weights_follow_their_distribution_within_its_bounds(tmp_path, weight, plastic, law, low, high):
    rule = {"rule": "bernoulli", "p": 0.4, "weight_mv": weight, "delay_ms": [1, 1], "plastic": plastic}
    _, synapses = drawn(tmp_path, {"network.connections": {"E->E": rule}})
    values = synapses["weight"] / UNITS_PER_MV
    assert low <= values.min() <= values.max() <= high
    assert stats.kstest(values, truncated(law, low, high)).pvalue > 1e-3


def test_inhibitory_lognormal_weights_are_mirrored(tmp_path):
    rule = {"rule": "bernoulli", "p": 0.4, "delay_ms": [1, 1], "weight_mv": {"distribution": "lognormal", "mean_mv": 3.0, "sd_mv": 2.0}}
    _, one = drawn(tmp_path, {"network.connections": {"I->E": rule}})
    _, other = drawn(tmp_path, {"network.connections": {"I->E": with_keys(rule, {"weight_mv.mean_mv": -3.0})}})
    assert one["weight"].min() >= 0
    np.testing.assert_array_equal(one["weight"], -other["weight"])


@pytest.mark.parametrize("rule", [{"rule": "bernoulli", "p": 0.4}, {"rule": "fixed_outdegree", "out_degree": 60}])
@pytest.mark.parametrize(
    ("delay", "law"),
    [
        ({"distribution": "uniform", "first_ms": 3, "last_ms": 12}, stats.uniform(2.5, 10)),
        ({"distribution": "normal", "mean_ms": 8.0, "sd_ms": 4.0, "first_ms": 1, "last_ms": 20}, stats.norm(8, 4)),
        ({"distribution": "lognormal", "mean_ms": 5.0, "sd_ms": 5.0, "first_ms": 2, "last_ms": 255}, lognormal(5, 5)),
    ],
)
def test_delays_are_integers_and_follow_their_distribution(tmp_path, rule, delay, law):
    connection = {**rule, "weight_mv": 1.0, "delay_ms": delay}
    run, synapses = drawn(tmp_path, {"network.connections": {"E->E": connection}})
    first, last = run.network.connections["E->E"].delay_range
    distribution = truncated(law, first - 0.5, last + 0.5)
    possible = np.arange(first, last + 1)
    expected = (distribution(possible + 0.5) - distribution(possible - 0.5)) * len(synapses["delay"])
    assert synapses["delay"].min() >= first
    assert well_fitting(np.bincount(synapses["delay"], minlength=256)[first : last + 1], expected)


def test_a_uniform_distribution_of_delays_is_equivalent_to_a_range(tmp_path):
    rule = {"rule": "bernoulli", "p": 0.4, "weight_mv": 1.0}
    _, one = drawn(tmp_path, {"network.connections": {"E->E": {**rule, "delay_ms": [3, 12]}}})
    delays = {"distribution": "uniform", "first_ms": 3, "last_ms": 12}
    _, other = drawn(tmp_path, {"network.connections": {"E->E": {**rule, "delay_ms": delays}}})
    np.testing.assert_array_equal(one["delay"], other["delay"])


def test_weights_and_delays_do_not_depend_on_the_rule(tmp_path):
    """Synapses that exist in two networks with different rules have the same weights and delays."""
    drawn_values = {
        "weight_mv": {"distribution": "normal", "mean_mv": 5.0, "sd_mv": 2.0},
        "delay_ms": {"distribution": "normal", "mean_ms": 8.0, "sd_ms": 4.0, "first_ms": 1, "last_ms": 20},
        "plastic": True,
    }
    tables = []
    for rule in (
        {"rule": "bernoulli", "p": 0.5},
        {"rule": "fixed_indegree", "in_degree": 80},
        {"rule": "fixed_outdegree", "out_degree": 80},
    ):
        _, synapses = drawn(tmp_path, {"network.connections": {"E->E": {**rule, **drawn_values}}})
        tables.append(pd.DataFrame(synapses).set_index(["source", "target"]))
    for other in tables[1:]:
        both = tables[0].index.intersection(other.index)
        assert 5000 < len(both) < 20_000
        pd.testing.assert_frame_equal(tables[0].loc[both], other.loc[both])
    assert abs(np.corrcoef(tables[0]["weight"], tables[0]["delay"])[0, 1]) < 0.05


def test_another_seed_gives_another_network(tmp_path):
    (_, one), (_, two) = drawn(tmp_path, {"network.seed": 1}), drawn(tmp_path, {"network.seed": 2})
    pairs = [set(zip(s["source"], s["target"], strict=True)) for s in (one, two)]
    assert len(pairs[0] & pairs[1]) < 0.5 * len(pairs[0])


def test_statistics_match_the_synapses(make_run):
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


def test_a_block_without_synapses_is_read_like_any_other(make_run):
    """A block of inhibitory neurons to which nothing connects."""
    run = make_run({"network.connections.E->I.p": 0.0, "network.block_size": 40, "simulation.chunk_neurons": 40})
    build_blocks(run, range(run.n_blocks))
    assert n_synapses(run, 4) == 0
    group = block_group(run, "network", 4)
    assert read_shard(group, "weight", (0,)).tolist() == [0]


def test_weights_outside_the_integer_range_are_refused_with_the_neuron(make_run):
    run = make_run({"network.connections.I->E.weight_mv": -3000.0})
    with pytest.raises(NetworkError, match=r"neuron \d+: the weights onto it can add up to \d+ mV; expected less than 32,768 mV"):
        build_blocks(run, [0])


GOOD_EDGES = {
    "source": [0, 1, 2],
    "target": [1, 2, 0],
    "delay_ms": [1, 5, 255],
    "weight_mv": [6.0, 5.0, -32_767.0],
    "plastic": [True, True, False],
}


def edge_run(tmp_path, suffix, table):
    """A run with an edge table of this format."""
    path = tmp_path / f"edges{suffix}"
    frame = pd.DataFrame(table)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        np.savez(path, **{name: np.array(values) for name, values in table.items()})
    return load_runs(small_config(tmp_path, {"network.connections": {}, "network.edges": str(path)}))[0]


SUFFIXES = (".csv", ".parquet", ".npz")
NAN = float("nan")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("source", [0, 1, 200], "row 2: 200, expected a neuron id in 0 .. 199 as source"),
        ("source", [0, -1, 2], "row 1: -1, expected a neuron id in 0 .. 199 as source"),
        ("source", [1, 2, 200], "row 2: 200, expected a neuron id in 0 .. 199 as source; ids start at 0, are these counted from 1?"),
        ("target", [1, 1, 0], "row 1: 1, expected a target other than the source; remove self-connections"),
        ("target", [1, 2, 10**12], "row 2: 1000000000000, expected a neuron id in 0 .. 199 as target"),
        ("source", [0.0, 1.5, 2.0], "row 1: source = 1.5, expected a whole number"),
        ("source", [0.0, NAN, 2.0], "row 1: source = nan, expected a whole number"),
        ("target", ["1", "two", "0"], "row 1: target = two, expected a whole number"),
        ("target", [1.0, 2.0, 1e300], "row 2: target = 1e+300, expected a whole number"),
        ("source", [False, True, True], "row 0: source = False, expected a whole number"),
        ("delay_ms", [1, 0, 5], "row 1: 0, expected a delay of 1 .. 255 ms"),
        ("delay_ms", [1, 5, 256], "row 2: 256, expected a delay of 1 .. 255 ms"),
        ("delay_ms", [1, 5, 1.25], "row 2: delay_ms = 1.25, expected a whole number"),
        ("weight_mv", [6.0, 5.0, NAN], "row 2: weight_mv = nan, expected a finite number"),
        ("weight_mv", [6.0, 5.0, -float("inf")], "row 2: weight_mv = -inf, expected a finite number"),
        ("weight_mv", ["6", "5 mV", "1"], "row 1: weight_mv = 5 mV, expected a finite number"),
        ("weight_mv", [6.0, 5.0, -32_768.0], "row 2: -32768.0, expected |weight| < 32,768 mV"),
        ("weight_mv", [6.0, -0.5, -1.0], "row 1: -0.5, expected a plastic weight in 0 .. network.weight_max_mv = 10.0"),
        ("weight_mv", [10.5, 5.0, -1.0], "row 0: 10.5, expected a plastic weight in 0 .. network.weight_max_mv = 10.0"),
        ("plastic", ["true", "maybe", "false"], "row 1: plastic = maybe, expected true or false"),
        ("plastic", [1, 2, 0], "row 1: plastic = 2, expected true or false"),
    ],
)
def test_an_invalid_row_of_an_edge_table_is_reported_with_the_reason(tmp_path, suffix, column, values, reason):
    run = edge_run(tmp_path, suffix, {**GOOD_EDGES, column: values})
    with pytest.raises(NetworkError, match=re.escape(reason)):
        read_edges(run)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_duplicate_edge_is_reported_but_not_one_with_another_delay(tmp_path, suffix):
    table = {name: [*values, values[1]] for name, values in GOOD_EDGES.items()}
    table["delay_ms"][3] = 6
    assert len(read_edges(edge_run(tmp_path, suffix, table))) == 4
    table["delay_ms"][3] = 5
    with pytest.raises(NetworkError, match=re.escape("row 3: duplicate edge (target, source, delay) = (2, 1, 5)")):
        read_edges(edge_run(tmp_path, suffix, table))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (np.array([0, 1, 2], "M8[s]"), "1970-01-01 00:00:00"),
        (np.array([0, 1, 2], "m8[s]"), "0 days 00:00:00"),
        (np.array([0j, 1j, 2 + 0j]), "0j"),
        (np.array([2**63, 1, 2], np.uint64), "9223372036854775808"),
    ],
)
def test_values_that_pandas_would_convert_to_numbers_are_refused(tmp_path, values, shown):
    with pytest.raises(NetworkError, match=re.escape(f"row 0: source = {shown}, expected a whole number")):
        read_edges(edge_run(tmp_path, ".npz", {**GOOD_EDGES, "source": values}))


@pytest.mark.parametrize("row", ["0,1,1,6.0,1,1", "0,1,1,6.0,true,"])
def test_a_csv_with_more_values_than_column_names_is_refused(tmp_path, row):
    """pandas would use the first column as row names and shift the others by one."""
    run = edge_run(tmp_path, ".csv", GOOD_EDGES)
    path = tmp_path / "edges.csv"
    path.write_text(f"{','.join(GOOD_EDGES)}\n{row}\n", encoding="utf-8")
    with pytest.raises(NetworkError, match=re.escape(f"{path} cannot be read as a table: row 0 has more values than the header")):
        read_edges(run)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_edge_table_is_read_completely_and_sorted(tmp_path, suffix):
    rng = np.random.default_rng(1)
    keys = rng.choice(200 * 200 * 255, 5000, replace=False)
    keys = keys[keys // 255 % 200 != keys // 255 // 200]
    table = {"source": keys // 255 % 200, "target": keys // 255 // 200, "delay_ms": keys % 255 + 1}
    table["weight_mv"] = np.round(rng.uniform(0, 10, len(keys)), 3)
    table["plastic"] = rng.random(len(keys)) < 0.5
    synapses = read_edges(edge_run(tmp_path, suffix, table))
    order = np.lexsort((table["delay_ms"], table["source"], table["target"]))
    for name, values in zip(NAMES, (table[c] for c in ("source", "target", "delay_ms", "weight_mv", "plastic")), strict=True):
        expected = np.rint(values[order] * UNITS_PER_MV) if name == "weight" else values[order]
        np.testing.assert_array_equal(getattr(synapses, name), expected)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({}, None),
        ({"weight_mv": [6e-6, 6e-6, -4e-6]}, "3 of 3 weights round to 0 mV (the resolution is 2^-16 mV); are they in mV?"),
        ("from 1", "neuron 0 has no edge, but 199 other neurons have; do the ids start at 1?"),
        ("from 1, without the last", "neuron 0 has no edge, but 190 other neurons have; do the ids start at 1?"),
    ],
    ids=["as it should be", "volts", "ids from 1", "ids from 1, the last without an edge"],
)
def test_an_implausible_edge_table_causes_one_warning(tmp_path, caplog, changes, warning):
    caplog.set_level("WARNING")
    table = {**GOOD_EDGES, **(changes if isinstance(changes, dict) else {})}
    run = edge_run(tmp_path, ".csv", table)
    if isinstance(changes, str):
        source = np.arange(1, 200 if changes == "from 1" else 191)
        table = {"source": source, "target": np.roll(source, 1), "delay_ms": 1, "weight_mv": 1.0, "plastic": False}
        run = edge_run(tmp_path, ".csv", {name: np.broadcast_to(values, source.shape) for name, values in table.items()})
    edges = read_edges(run)
    warn_if_implausible(run, edges)
    assert [record.message.removeprefix(f"{run.network.edges}: ") for record in caplog.records] == ([warning] if warning else [])
