"""Controls: shuffled labels, and partial correlation given the firing rate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import pearsonr, rankdata

from spikelens.explanation.scores import ALL, INTERVAL, EdgeClass, Mask, auroc, average_precision, count_levels, score_levels


def shuffle_within_populations(edges: EdgeClass, rng: np.random.Generator) -> Mask:
    """Permute the labels of the neurons within each population, (n_sources, n_targets); same graph.

    In-degrees, out-degrees, reciprocity and differences between populations are preserved; only the identity
    of the neurons is lost. If source and target population are the same, both are permuted alike.
    """
    sources = rng.permutation(len(edges.sources))
    same = np.array_equal(edges.sources, edges.targets)
    targets = sources if same else rng.permutation(len(edges.targets))
    return edges.synapse[np.ix_(sources, targets)]


def score_shuffled(score: NDArray[Any], edges: EdgeClass, n_shuffles: int, seed: int) -> list[dict[str, Any]]:
    """Evaluate a score on shuffled labels: one row as in `score_class`, none if all pairs are connected.

    auroc and ap are means over the shuffles; ci is the central 95 % range of the AUROCs.
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
    """Whether values are constant up to rounding, so that no correlation is defined."""
    array = np.asarray(values, np.float64)
    return array.size < 2 or bool(np.ptp(array) <= 1e-6 * np.abs(array).max())


def residuals(values: NDArray[np.float64], given: NDArray[np.float64]) -> NDArray[np.float64]:
    """Residuals of a linear regression of `values` on `given`."""
    centred, against = values - values.mean(), given - given.mean()
    slope = (centred @ against) / max(float(against @ against), np.finfo(np.float64).tiny)
    left: NDArray[np.float64] = centred - slope * against
    return left


def partial_spearman(x: ArrayLike, y: ArrayLike, held: ArrayLike) -> float:
    """Partial Spearman correlation of x and y given `held`.

    Pearson correlation of the residuals of the ranks of x and y after regression on the ranks of `held`; 0 if
    `held` explains either completely.
    """
    ranks = [rankdata(values).astype(np.float64) for values in (x, y, held)]
    left_x, left_y = (residuals(rank, ranks[2]) for rank in ranks[:2])
    scale = float(len(ranks[0])) ** 2
    if min(left_x @ left_x, left_y @ left_y) <= 1e-12 * scale:
        return 0.0
    return float((left_x @ left_y) / np.sqrt((left_x @ left_x) * (left_y @ left_y)))


def association(x: NDArray[np.float64], y: NDArray[np.float64], rate_hz: NDArray[np.float64]) -> dict[str, Any] | None:
    """Spearman's rho of x and y over neurons, its p-value, and the partial rho given the rate.

    Neurons with NaN in y are excluded. None if fewer than four remain, or if x or y is constant.
    """
    known = np.isfinite(y)
    x, y, rate_hz = x[known], y[known], rate_hz[known]
    if len(x) < 4 or is_constant(x) or is_constant(y):
        return None
    rho, p = pearsonr(rankdata(x), rankdata(y))
    return {"rho": float(rho), "p": float(p), "partial_rho": partial_spearman(x, y, rate_hz), "n": len(x)}


def similarity(x: NDArray[Any], y: NDArray[Any]) -> dict[str, Any] | None:
    """Pearson and Spearman correlation of two scores over pairs of neurons; None if either is constant.

    Without a p-value, because pairs that share a neuron are not independent.
    """
    if is_constant(x) or is_constant(y):
        return None
    return {"pearson": float(np.corrcoef(x, y)[0, 1]), "rho": float(np.corrcoef(rankdata(x), rankdata(y))[0, 1]), "n": len(x)}
