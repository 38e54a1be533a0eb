"""Scores of the wiring against known answers, scikit-learn and scipy, planted synapses, and controls."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from simulations import compute_features
from sklearn.metrics import average_precision_score, roc_auc_score

import spikelens
from spikelens.explanation import attention as att
from spikelens.explanation import causal, controls, scores
from spikelens.explanation.judge import judge
from spikelens.explanation.run import compute
from spikelens.features.windows import windows_range, windows_within
from spikelens.layouts import block_group
from spikelens.models.run import train
from spikelens.network.build import build_blocks
from spikelens.outputs import feature_block, feature_output, method_output
from spikelens.prepare import verify
from spikelens.recording import wiring
from spikelens.simulation.run import simulate_segment
from spikelens.stores import ensure, write_shard

OMEGAS = ("omega", "omega_unweighted")
STRATA = (0.0, 1.0, 3.0, 5.0, 10.0)


def random_classes(seed=0, n_e=120, n_i=30, p=0.1):
    """Random E->E, E->I and I->E synapses; those from E are plastic."""
    rng = np.random.default_rng(seed)
    n = n_e + n_i
    members = {"E": np.arange(n_e), "I": np.arange(n_e, n)}
    synapse = (rng.random((n, n)) < p) & ~np.eye(n, dtype=bool)
    synapse[n_e:, n_e:] = False
    weight = np.where(synapse, rng.uniform(0, 10, (n, n)), 0)
    weight[rng.random((n, n)) < 0.05] *= 0
    weight[synapse & (rng.random((n, n)) < 0.05)] = 10
    plastic = synapse.copy()
    plastic[n_e:] = False
    weight[n_e:] = np.where(synapse[n_e:], -5, 0)
    classes = scores.edge_classes(synapse, weight, plastic, members, ["E->E", "E->I", "I->E", "I->I"], STRATA)
    return classes, synapse, weight, rng


def exact(score, positive, negative):
    """AUROC and average precision of a matrix score, computed by this project."""
    levels = scores.score_levels(score, positive | negative)
    counts = [scores.count_levels(levels, chosen, int(levels.max()) + 1) for chosen in (positive, negative)]
    return float(scores.auroc(*counts)), scores.average_precision(*counts)


def whole(rows):
    return next(row for row in rows if row["stratum"] == "all")


# --- AUROC, average precision, intervals --------------------------------------------------------------------------------


def test_auroc_and_precision_of_six_pairs_counted_by_hand():
    score = np.array([[0.9, 0.8, 0.7, 0.7, 0.2, 0.1]])
    positive = np.array([[True, False, True, False, False, True]])
    # 9 comparisons: .9 beats 3, .7 beats 1 and ties 1, .1 beats none; precision 1/1, 2/4 (both of .7), 3/6
    auroc, precision = exact(score, positive, ~positive)
    assert auroc == pytest.approx(4.5 / 9)
    assert precision == pytest.approx((1 + 2 / 4 + 3 / 6) / 3)


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_auroc_and_precision_are_those_of_scikit_learn_also_with_ties(digits):
    rng = np.random.default_rng(digits)
    positive = rng.random((40, 50)) < 0.15
    score = np.round(rng.normal(size=(40, 50)) + positive, digits)
    auroc, precision = exact(score, positive, ~positive)
    assert auroc == pytest.approx(roc_auc_score(positive.ravel(), score.ravel()), abs=1e-12)
    assert precision == pytest.approx(average_precision_score(positive.ravel(), score.ravel()), abs=1e-12)


def test_score_rows_of_every_stratum_are_those_of_scikit_learn():
    (edges, *_), _, _, rng = random_classes()
    score = np.round(rng.normal(size=edges.synapse.shape) + edges.synapse, 1)
    negative = edges.candidate & ~edges.synapse
    for row in scores.score_class(score, edges, 20, 1):
        positive = edges.synapse if row["stratum"] == "all" else edges.strata[row["stratum"]]
        pool = positive | negative
        assert row["auroc"] == pytest.approx(roc_auc_score(positive[pool], score[pool]), abs=1e-12)
        assert row["ap"] == pytest.approx(average_precision_score(positive[pool], score[pool]), abs=1e-12)
        assert (row["n_positive"], row["n_negative"]) == (positive.sum(), negative.sum())


def test_interval_is_that_of_a_plain_bootstrap_over_targets():
    rng = np.random.default_rng(3)
    positive = rng.random((60, 40)) < 0.2
    # targets differ, so that resampling pairs would give too narrow an interval
    score = rng.normal(size=(60, 40)) + positive * rng.normal(1, 1, 40)
    every = np.ones_like(positive)
    edges = scores.EdgeClass("E->I", np.arange(60), np.arange(60, 100), every, positive, {})
    low, high = whole(scores.score_class(score, edges, 1000, 1))["ci"]
    plain = []
    for _ in range(400):
        drawn = rng.integers(0, 40, 40)
        plain.append(roc_auc_score(positive[:, drawn].ravel(), score[:, drawn].ravel()))
    assert (low, high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.012)


def test_interval_without_a_usable_resample_says_that_nothing_is_known():
    nothing = np.zeros((3, 5))
    assert scores.interval(0.7, nothing, nothing, np.ones((4, 3))) == [0.0, 1.0]


def test_same_rows_for_the_same_seed():
    (edges, *_), _, _, rng = random_classes()
    score = rng.normal(size=edges.synapse.shape)
    assert scores.score_class(score, edges, 30, 5) == scores.score_class(score, edges, 30, 5)
    assert controls.score_shuffled(score, edges, 3, 5) == controls.score_shuffled(score, edges, 3, 5)


def test_planted_synapses_are_found_and_noise_is_not():
    classes, synapse, _, rng = random_classes(seed=4)
    noise = rng.normal(size=synapse.shape)
    assert [edges.name for edges in classes] == ["E->E", "E->I", "I->E"]
    for edges in classes:
        planted = whole(scores.score_class(edges.part(noise + 3 * synapse), edges, 200, 1))
        chance = whole(scores.score_class(edges.part(noise), edges, 200, 1))
        assert planted["auroc"] > 0.97
        assert planted["ci"][0] > 0.95
        assert planted["ap"] > 0.8
        assert chance["ci"][0] < 0.5 < chance["ci"][1]
        assert chance["ap"] == pytest.approx(edges.synapse.sum() / edges.candidate.sum(), abs=0.03)


def test_a_score_that_holds_the_answer_reaches_one():
    classes, _, weight, _ = random_classes(seed=5)
    omega = np.abs(np.where(weight == 0, 0, weight + np.sign(weight)))
    for edges in classes:
        present = edges.part(weight) != 0
        seen = scores.EdgeClass(edges.name, edges.sources, edges.targets, edges.candidate, edges.synapse & present, {})
        row = whole(scores.score_class(edges.part(omega), seen, 20, 1))
        assert row["auroc"] == row["ap"] == row["ci"][1] == 1.0


def test_a_class_in_which_every_pair_is_connected_has_no_score():
    every = np.ones((3, 4), bool)
    edges = scores.EdgeClass("E->I", np.arange(3), np.arange(3, 7), every, every, {})
    assert scores.score_class(np.ones((3, 4)), edges, 10, 1) == []
    assert controls.score_shuffled(np.ones((3, 4)), edges, 10, 1) == []


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        scores.score_levels(np.array([[np.nan, 1.0]]), np.ones((1, 2), bool))


# --- classes and strata -------------------------------------------------------------------------------------------------


def test_strata_divide_the_synapses_of_plastic_classes_without_loss_or_overlap():
    classes, _, weight, rng = random_classes(seed=6)
    by_name = {edges.name: edges for edges in classes}
    assert by_name["I->E"].strata == {}
    for name in ("E->E", "E->I"):
        edges = by_name[name]
        assert list(edges.strata) == ["0-1", "1-3", "3-5", "5-10"]
        assert np.array_equal(sum(mask.astype(int) for mask in edges.strata.values()), edges.synapse.astype(int))
        strong = edges.part(weight)[edges.strata["3-5"]]
        assert 3 <= strong.min() <= strong.max() < 5
        assert (edges.part(weight)[edges.strata["5-10"]] == 10).any(), "the last class holds its end"
        rows = scores.score_class(rng.normal(size=edges.synapse.shape), edges, 10, 1)
        assert sum(row["n_positive"] for row in rows[1:]) == rows[0]["n_positive"] == edges.synapse.sum()


def test_an_empty_stratum_has_no_row():
    synapse = np.array([[False, True, True], [True, False, False], [False, False, False]])
    members = {"E": np.arange(3)}
    (edges,) = scores.edge_classes(synapse, 2.0 * synapse, synapse, members, ["E->E"], STRATA)
    rows = scores.score_class(np.arange(9.0).reshape(3, 3), edges, 10, 1)
    assert [row["stratum"] for row in rows] == ["all", "1-3"]
    assert rows[0]["n_positive"] + rows[0]["n_negative"] == 6, "a neuron is no candidate for itself"


# --- controls -----------------------------------------------------------------------------------------------------------


def test_shuffled_labels_keep_degrees_and_reciprocity_and_lose_identity():
    (edges, *_), synapse, _, rng = random_classes(seed=7)
    shuffled = controls.shuffle_within_populations(edges, np.random.default_rng(1))
    for axis in (0, 1):
        assert np.array_equal(np.sort(shuffled.sum(axis)), np.sort(edges.synapse.sum(axis)))
    assert (shuffled & shuffled.T).sum() == (edges.synapse & edges.synapse.T).sum()
    assert not (shuffled & ~edges.candidate).any()
    overlap = (shuffled & edges.synapse).sum() / edges.synapse.sum()
    assert overlap < 0.2
    planted = edges.part(rng.normal(size=synapse.shape) + 5 * synapse)
    (row,) = controls.score_shuffled(planted, edges, 20, 1)
    assert whole(scores.score_class(planted, edges, 10, 1))["auroc"] > 0.99
    assert row["auroc"] == pytest.approx(0.5, abs=0.02)
    assert row["ci"][0] < 0.5 < row["ci"][1]


def test_shuffled_labels_keep_what_is_known_of_a_population_as_a_whole():
    n = 60
    synapse = np.zeros((n, n), bool)
    synapse[:30, 30:] = np.random.default_rng(0).random((30, 30)) < 0.5
    members = {"A": np.arange(30), "B": np.arange(30, n), "both": np.arange(n)}
    population_only = np.zeros((n, n))
    population_only[:30, 30:] = 1
    (edges,) = scores.edge_classes(synapse, synapse * 1.0, ~synapse, members, ["A->B"], STRATA)
    (row,) = controls.score_shuffled(edges.part(population_only), edges, 5, 1)
    assert row["auroc"] == 0.5
    assert row["ci"] == [0.5, 0.5]
    assert row["n_positive"] == synapse.sum()


def test_spearman_is_scipys():
    rng = np.random.default_rng(8)
    x, rate = rng.normal(size=50), rng.normal(size=50)
    y = np.round(x + rng.normal(size=50), 1)
    row = controls.association(x, y, rate)
    expected = spearmanr(x, y)
    assert (row["rho"], row["p"]) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-6)
    assert row["n"] == 50


def test_a_relation_that_the_rate_explains_is_gone_with_the_rate_held_fixed():
    rng = np.random.default_rng(9)
    rate = rng.gamma(2, 2, 2000)
    attention, weight = rate + rng.normal(0, 0.5, 2000), np.log(rate) + rng.normal(0, 0.3, 2000)
    row = controls.association(attention, weight, rate)
    assert row["rho"] > 0.7
    assert abs(row["partial_rho"]) < 0.06
    assert controls.partial_spearman(rate**2, weight, rate) == 0.0, "a function of the rate alone"


def test_a_relation_beside_the_rate_stays_with_the_rate_held_fixed():
    rng = np.random.default_rng(10)
    rate, shared = rng.normal(size=(2, 2000))
    x, y = rate + shared, shared - rate
    assert abs(controls.association(x, y, rate)["rho"]) < 0.1
    assert controls.partial_spearman(x, y, rate) > 0.9


def test_partial_spearman_is_the_textbook_formula():
    rng = np.random.default_rng(11)
    x, y, z = rng.normal(size=(3, 40)) + rng.normal(size=40)
    xy, xz, yz = (spearmanr(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    assert controls.partial_spearman(x, y, z) == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))


def test_associations_leave_out_what_is_constant_or_unknown():
    x, y, rate = np.arange(6.0), np.array([1, np.nan, 3, 2, 5, 4.0]), np.ones(6)
    assert controls.association(x, y, rate)["n"] == 5
    assert controls.association(x, y, rate)["partial_rho"] == pytest.approx(controls.association(x, y, rate)["rho"])
    assert controls.association(np.full(6, 0.25) + 1e-9 * x, y, rate) is None
    assert controls.similarity(np.ones(6), x) is None


# --- attention ----------------------------------------------------------------------------------------------------------


def test_correlation_is_numpys_also_in_pieces():
    values = np.random.default_rng(12).random((7, 30)).astype(np.float32)
    expected = np.corrcoef(values.astype(np.float64))
    assert np.allclose(att.correlation([values]), expected, atol=1e-12)
    assert np.allclose(att.correlation([values[:, :11], values[:, 11:]]), expected, atol=1e-12)


def test_constant_attention_correlates_with_nothing():
    values = np.random.default_rng(13).random((4, 20)).astype(np.float32)
    values[1] = 0.1
    values[2] = 0
    found = att.correlation([values])
    assert not found[[1, 2]].any()
    assert not found[:, [1, 2]].any()
    assert found[0, 3] == pytest.approx(np.corrcoef(values[[0, 3]])[0, 1])


def test_aligned_correlation_sees_what_the_mean_over_windows_hides():
    rng = np.random.default_rng(14)
    attention = rng.random((200, 3, 2, 2, 5))
    attention[:, 1] = attention[:, 0]
    attention[:, 2] = attention[rng.permutation(200), 0]
    mean, aligned = att.mean_correlation(attention.mean(0)), att.aligned_correlation(attention)
    assert mean[0, 2] == pytest.approx(1)
    assert aligned[0, 1] == pytest.approx(1)
    assert abs(aligned[0, 2]) < 0.1


def test_attention_in_numbers_counted_by_hand():
    even, latest = np.full(4, 0.2), np.array([0, 0, 0, 0.5])
    found = att.neuron_quantities(np.stack([even, latest])[:, None, None, :])
    assert found["attention_on_history"] == pytest.approx([0.8, 0.5])
    assert found["attention_lag"] == pytest.approx([2.5, 1])
    assert found["attention_entropy"] == pytest.approx([1, 0])
    assert found["attention_latest"] == pytest.approx([0.25, 1])


# --- the verdict --------------------------------------------------------------------------------------------------------


def row(name, auroc, low, high, time_range=(0, 1), method="method"):
    place = {"edge_class": "E->E", "stratum": "all", "time_range_ms": list(time_range)}
    return {"method": method, "score": name, "auroc": auroc, "ci": [low, high], **place}


@pytest.mark.parametrize(
    ("trained", "untrained", "plain", "expected"),
    [
        ((0.50, 0.49, 0.51), (0.50, 0.49, 0.51), 0.65, "does not predict synapses better than shuffled labels"),
        ((0.45, 0.44, 0.46), (0.50, 0.49, 0.51), 0.65, "less correlated between connected neurons"),
        ((0.55, 0.53, 0.57), (0.54, 0.53, 0.55), 0.50, "not better than the untrained model"),
        ((0.58, 0.57, 0.59), (0.51, 0.50, 0.52), 0.66, "not better than the correlation of rates"),
        ((0.80, 0.79, 0.81), (0.51, 0.50, 0.52), 0.66, "the untrained model and the correlation of rates"),
    ],
)
def test_verdict_follows_from_the_numbers(trained, untrained, plain, expected):
    name = "attention_correlation"
    rows = [
        row(name, *trained),
        row(name + scores.UNTRAINED, *untrained),
        row(name + scores.SHUFFLED, 0.5, 0.49, 0.51),
        row("rate_correlation", plain, plain - 0.01, plain + 0.01),
        row("rate_correlation", 0.99, 0.98, 1.0, time_range=(0, 100)),
    ]
    judged = scores.verdict(rows)["E->E"]["method"][name]
    assert expected in judged["conclusion"]
    assert judged["rate_correlation"]["auroc"] == plain, "the plain correlation of the same time range"


def test_each_method_has_its_own_verdict_and_controls():
    name = "attention_correlation"
    rows = [
        row(name, 0.80, 0.79, 0.81, method="first"),
        row(name + scores.UNTRAINED, 0.51, 0.50, 0.52, method="first"),
        row(name, 0.55, 0.53, 0.57, method="second"),
        row(name + scores.UNTRAINED, 0.54, 0.53, 0.55, method="second"),
        row("rate_correlation", 0.60, 0.59, 0.61, method="fine"),
        row("rate_correlation", 0.66, 0.65, 0.67, method="coarse"),
    ]
    judged = scores.verdict(rows)["E->E"]
    assert [judged[method][name]["trained"]["auroc"] for method in ("first", "second")] == [0.80, 0.55]
    assert "the untrained model and the correlation of rates" in judged["first"][name]["conclusion"]
    assert "not better than the untrained model" in judged["second"][name]["conclusion"]
    assert judged["first"][name]["rate_correlation"]["auroc"] == 0.66, "the highest of the correlations of rates"


def test_verdict_without_scores_is_empty():
    assert scores.verdict([]) == {}


# --- reading the stores -------------------------------------------------------------------------------------------------

SHORT = {
    "simulation.ranks": 1,
    "training.start_s": 0,
    "models.autoencoder.sequences": 20,
    **{f"models.{name}.{key}": value for name in ("tft_population", "tft_neuron") for key, value in (("history", 2), ("horizon", 1))},
}
EDGES = pd.DataFrame(
    # the pair 0 -> 4 has two synapses, 1 is not looked at, and 6 -> 6 is one onto itself
    [(0, 2, 3, 6.0, True), (0, 4, 1, 6.0, True), (0, 4, 5, 6.0, True), (1, 2, 2, 6.0, True), (6, 2, 1, -5.0, False)],
    columns=["source", "target", "delay_ms", "weight_mv", "plastic"],
)


@pytest.fixture
def tiny(make_run, tmp_path):
    """Eight neurons in blocks of three with an edge table; even ones are scored. Segments of 3 s and 1 s."""
    table = tmp_path / "edges.csv"
    EDGES.to_csv(table, index=False)
    changes = {
        **SHORT,
        "network.edges": str(table),
        "network.connections": {},
        "network.neurons": 8,
        "network.populations.E.count": 5,
        "network.populations.I.count": 3,
        "network.block_size": 3,
        "simulation.chunk_neurons": 3,
        "simulation.duration_s": 4,
        "simulation.segment_s": 3,
        "simulation.weight_average": True,
        "models.tft_neuron.neurons": 4,
    }
    run = make_run(changes)
    build_blocks(run, range(run.n_blocks))
    for block in range(run.n_blocks):
        groups = (block_group(run, "weights", block), ("weight_average",)), (feature_block(run, "omega_synapses", block), OMEGAS)
        for group, arrays in groups:
            ensure(group)
            for name in arrays:
                spec = group.arrays[name]
                for index in spec.indices():
                    shape = [part.stop - part.start for part in spec.region(index)]
                    values = np.broadcast_to(1 + index[0] + 10 * np.arange(shape[1]), shape)
                    write_shard(group, name, index, values.astype(np.float32))
    return run


def test_wiring_of_some_neurons_is_that_of_the_edge_table(tiny):
    # synapse k of a block has weight 1 + 10 k for 3 s and 2 + 10 k for 1 s, and so has Omega per window of 1 s
    found = wiring.read_wiring(tiny, np.array([0, 2, 4, 6]))
    expected = np.zeros((4, 4), bool)
    expected[0, 1] = expected[0, 2] = expected[3, 1] = True
    assert np.array_equal(found.synapse, expected)
    assert found.plastic.tolist() == [[False, True, True, False], *[[False] * 4] * 3]
    assert found.weight[0, 1] == pytest.approx(1.25)
    assert found.weight[0, 2] == pytest.approx(1.25 + 11.25), "two synapses of one pair add up"
    assert found.weight[3, 1] == pytest.approx(21.25)
    for array in OMEGAS:
        omega = causal.of_synapses(tiny, "omega_synapses", np.array([0, 2, 4, 6]), array)
        assert omega[3, 1] == 3 * 21 + 22
        assert omega.sum() == omega[expected].sum()


def test_mean_weights_are_over_all_synapses_of_a_neuron_and_unknown_without_any(tiny):
    found = wiring.mean_weights(tiny)
    assert found["in_weight"][[2, 4]] == pytest.approx([(1.25 + 11.25 + 21.25) / 3, (1.25 + 11.25) / 2])
    assert found["out_weight"][[0, 1, 6]] == pytest.approx([(1.25 + 1.25 + 11.25) / 3, 11.25, 21.25])
    assert np.isnan(found["in_weight"][[0, 1, 3, 5, 6, 7]]).all()


def test_weight_at_the_end_stands_in_where_averages_are_not_kept(make_run):
    run = make_run({**SHORT, "simulation.weight_average": False, "simulation.duration_s": 2, "models.autoencoder.tau_ms": 10.0})
    build_blocks(run, range(run.n_blocks))
    weights = [block_group(run, "weights", block) for block in range(run.n_blocks)]
    for group in weights:
        ensure(group)
        n = group.arrays["weight"].shape[1]
        write_shard(group, "weight", (0, 0), np.full((1, n), 3 * 65_536, np.int32))
    assert wiring.mean_weights(run)["in_weight"] == pytest.approx(3)


def test_causal_components_are_summed_over_whole_windows_only(tiny):
    group = feature_output(tiny, "omega_pairs")
    spec = group.arrays["omega"]
    everything = np.arange(np.prod(spec.shape), dtype=np.float32).reshape(spec.shape)
    for index in spec.indices():
        write_shard(group, "omega", index, everything[spec.region(index)])
    neurons = np.array([0, 2, 4, 6])
    windows = windows_within(tiny, (900, 3_999), 1)
    assert windows == range(1, 3)
    assert windows_range(tiny, windows, 1) == (1_000, 3_000)
    expected = everything[1:3][:, neurons][:, :, neurons].sum(0)
    assert np.array_equal(causal.of_pairs(tiny, "omega_pairs", neurons, windows), expected)
    assert windows_within(tiny, (0, 4_000), 1) == range(4)
    assert not len(windows_within(tiny, (1_100, 1_900), 1))


# --- the stage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def explained(make_run):
    """A function that runs all stages up to the explanation at a small size."""

    def explain_small(changes):
        run = make_run({"simulation.ranks": 1, "models.autoencoder.epochs": 1, **changes})
        build_blocks(run, range(run.n_blocks))
        for segment in range(run.n_segments):
            simulate_segment(run, segment)
        compute_features(run)
        for name in ("autoencoder", "tft_population", "tft_neuron"):
            for seed in run.models[name].seeds:
                train(run, name, seed)
        for name in run.methods:
            compute(run, name)
        judge(run)
        return run, [
            json.loads((run.folder / "current" / "explanation" / f"{name}.json").read_text()) for name in ("scores", "associations")
        ]

    return explain_small


@pytest.mark.slow
def test_every_promised_score_stands_in_the_lists_of_a_run(explained):
    run, (found, associations) = explained({"models.tft_neuron.seeds": [1, 2]})
    attended = [name + suffix for name in scores.ATTENTION_SCORES for suffix in ("", scores.UNTRAINED, scores.SHUFFLED)]
    named = {(row["score"], row["edge_class"], row["seed"].get("model")) for row in found if row["stratum"] == "all"}
    for edge_class in ("E->E", "E->I", "I->E"):
        for seed in (1, 2):
            assert named >= {(name, edge_class, seed) for name in attended}
        assert named >= {(name, edge_class, None) for name in ("rate_correlation", "omega_dense", "omega", "omega_unweighted")}
    for row in found:
        assert 0 <= row["ci"][0] <= row["ci"][1] <= 1
        assert row["n_positive"] > 0
        first, end = row["time_range_ms"]
        assert 0 <= first < end <= run.n_steps
    circular = [row for row in found if row["score"] == "omega" and row["stratum"] == "all"]
    assert min(row["auroc"] for row in circular) > 0.75, "weights name the synapses, but for those without a spike"
    assert {row["saw"] for row in circular} == {"spikes, wiring and weights"}
    assert set(scores.verdict(found)) == {"E->E", "E->I", "I->E"}
    assert all(math.isfinite(row["rho"]) for row in associations)
    data = spikelens.open(run.folder).methods["attention"]
    assert data.attention.sum("encoder_step").max() <= 1 + 1e-5
    outputs = spikelens.open(run.folder).outputs
    assert (outputs["autoencoder"].encoder_variance >= 0).all()
    assert outputs["tft_neuron"].observed.mean(["window", "horizon"]).dims == ("seed", "neuron")
    assert not [fault for fault in verify(run) if "output.zarr" in fault]


@pytest.mark.slow
def test_some_neurons_of_a_network_are_explained_without_dense_components(explained):
    run, (found, _) = explained({"models.tft_neuron.neurons": 60, "features": {"omega_synapses": {"window_s": 1}}})
    assert not [row for row in found if row["score"] == "omega_dense"]
    assert {row["score"] for row in found} >= {"omega", "omega_unweighted"}
    pairs = {row["edge_class"]: row["n_positive"] + row["n_negative"] for row in found if row["stratum"] == "all"}
    assert pairs == {"E->E": 48 * 47, "E->I": 48 * 12, "I->E": 12 * 48}
    assert method_output(run, "rate_correlation").arrays["rate_correlation"].shape == (2, 60, 60)
