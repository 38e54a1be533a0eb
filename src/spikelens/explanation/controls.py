"""What a relation must survive before it is believed: shuffled labels, and rates held fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import pearsonr, rankdata

from spikelens.explanation.scores import ALL, INTERVAL, EdgeClass, Mask, auroc, average_precision, count_levels, score_levels


def shuffle_within_populations(edges: EdgeClass, rng: np.random.Generator) -> Mask:
    """Give the neurons of each population each other's synapses: same graph, other names, (n_sources, n_targets).

    In-degrees, out-degrees, reciprocity and every difference between populations stay; only who is who is lost. Within one
    population sources and targets are the same neurons and are renamed alike.
    """
    sources = rng.permutation(len(edges.sources))
    same = np.array_equal(edges.sources, edges.targets)
    targets = sources if same else rng.permutation(len(edges.targets))
    return edges.synapse[np.ix_(sources, targets)]


def score_shuffled(score: NDArray[Any], edges: EdgeClass, n_shuffles: int, seed: int) -> list[dict[str, Any]]:
    """Score an edge class against shuffled labels: one row as from `score_class`, or none.

    auroc and ap are means over the shuffles, ci the range that 95 % of the AUROCs fall in.
    """
    n_positive, n_candidates = int(edges.synapse.sum()), int(edges.candidate.sum())
    if n_positive == n_candidates:
        return []
    rng = np.random.default_rng(seed)
    levels = score_levels(score, edges.candidate)
    all_counts = count_levels(levels, edges.candidate, int(levels.max()) + 1)
    aurocs, precisions = np.empty(n_shuffles), np.empty(n_shuffles)
    for k in range(n_shuffles):
        positive = count_levels(levels, shuffle_within_populations(edges, rng), len(all_counts))
        aurocs[k] = auroc(positive, all_counts - positive)
        precisions[k] = average_precision(positive, all_counts - positive)
    return [
        {
            "stratum": ALL,
            "auroc": float(aurocs.mean()),
            "ap": float(precisions.mean()),
            "ci": [float(bound) for bound in np.quantile(aurocs, INTERVAL)],
            "n_positive": n_positive,
            "n_negative": n_candidates - n_positive,
        }
    ]


def is_constant(values: ArrayLike) -> bool:
    """Whether values differ by no more than rounding: such a quantity has no correlation with anything."""
    array = np.asarray(values, np.float64)
    return array.size < 2 or bool(np.ptp(array) <= 1e-6 * np.abs(array).max())


def residuals(values: NDArray[np.float64], given: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a straight line through `given` leaves of `values`."""
    centred, against = values - values.mean(), given - given.mean()
    slope = (centred @ against) / max(float(against @ against), np.finfo(np.float64).tiny)
    left: NDArray[np.float64] = centred - slope * against
    return left


def partial_spearman(x: ArrayLike, y: ArrayLike, held: ArrayLike) -> float:
    """Rank correlation of x and y with `held` kept fixed: Pearson's correlation of what the rank of `held` leaves of their ranks.

    0 if `held` explains either wholly.
    """
    ranks = [rankdata(values).astype(np.float64) for values in (x, y, held)]
    left_x, left_y = (residuals(rank, ranks[2]) for rank in ranks[:2])
    scale = float(len(ranks[0])) ** 2
    if min(left_x @ left_x, left_y @ left_y) <= 1e-12 * scale:
        return 0.0
    return float((left_x @ left_y) / np.sqrt((left_x @ left_x) * (left_y @ left_y)))


def association(x: NDArray[np.float64], y: NDArray[np.float64], rate_hz: NDArray[np.float64]) -> dict[str, Any] | None:
    """Spearman's rho of x and y over neurons, its p-value, and rho with the rate held fixed.

    Neurons for which y is not known (NaN) are left out; None if fewer than four are left, or x or y is constant.
    """
    known = np.isfinite(y)
    x, y, rate_hz = x[known], y[known], rate_hz[known]
    if len(x) < 4 or is_constant(x) or is_constant(y):
        return None
    rho, p = pearsonr(rankdata(x), rankdata(y))
    return {"rho": float(rho), "p": float(p), "partial_rho": partial_spearman(x, y, rate_hz), "n": len(x)}


def similarity(x: NDArray[Any], y: NDArray[Any]) -> dict[str, Any] | None:
    """Pearson's and Spearman's correlation of two scores over pairs of neurons; None if either is constant.

    There is no p-value: pairs that share a neuron are not independent.
    """
    if is_constant(x) or is_constant(y):
        return None
    return {"pearson": float(np.corrcoef(x, y)[0, 1]), "rho": float(np.corrcoef(rankdata(x), rankdata(y))[0, 1]), "n": len(x)}
