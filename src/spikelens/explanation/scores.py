"""How well a score of ordered pairs of neurons separates pairs with a synapse from pairs without.

Everything is computed from counts. A score is converted to levels (its sorted distinct values). AUROC and
average precision follow from the number of pairs with and without a synapse at each level, so that ties are
exact. With counts per target in a few hundred coarser levels, the bootstrap is a matrix product.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.explanation.contents import ATTENTION_SCORES, RATE_CORRELATION, SHUFFLED, UNTRAINED

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Levels = NDArray[np.int64]

BOOTSTRAP_LEVELS = 500
"""Quantile bins of a score in the bootstrap; their error in the AUROC is much smaller than the interval."""
INTERVAL = (0.025, 0.975)
ALL = "all"


@dataclass(frozen=True)
class EdgeClass:
    """The candidate pairs from one population to another, and which of them have a synapse.

    Matrices are [source, target]. `strata` groups the pairs with a synapse by its weight, with names like
    "3-4" [mV]; it is empty if no weight is plastic.
    """

    name: str
    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    candidate: Mask
    synapse: Mask
    strata: Mapping[str, Mask]

    def part(self, matrix: NDArray[Any]) -> NDArray[Any]:
        """The submatrix of this class, from a matrix of all neurons considered."""
        return matrix[np.ix_(self.sources, self.targets)]


def edge_classes(
    synapse: Mask, weight: Floats, plastic: Mask, members: Mapping[str, NDArray[np.int64]], names: Iterable[str], strata: Sequence[float]
) -> list[EdgeClass]:
    """Group all ordered pairs of distinct neurons by population; classes without a synapse are omitted.

    Parameters
    ----------
    synapse, weight, plastic : (n, n)
        [source, target]: whether a synapse exists, its time-averaged weight [mV], and whether it is plastic.
    members
        Matrix indices of the neurons of each population.
    names
        Edge classes as "source->target".
    strata
        Bin edges of the weight [mV]; bins are half-open except for the last.
    """
    classes = []
    for name in names:
        sources, targets = (members[population] for population in name.split("->"))
        block = np.ix_(sources, targets)
        candidate = sources[:, None] != targets[None, :]
        present = synapse[block] & candidate
        if present.any():
            by_weight = weight_strata(weight[block], present, strata) if (plastic[block] & present).any() else {}
            classes.append(EdgeClass(name, sources, targets, candidate, present, by_weight))
    return classes


def weight_strata(weight: Floats, synapse: Mask, strata: Sequence[float]) -> dict[str, Mask]:
    """Bin the pairs with a synapse by weight: [a, b), the last bin [a, b]; others are omitted."""
    divided = {}
    for low, high in itertools.pairwise(strata):
        below = weight <= high if high == strata[-1] else weight < high
        divided[f"{low:g}-{high:g}"] = synapse & (weight >= low) & below
    return divided


def score_levels(score: NDArray[Any], candidate: Mask) -> Levels:
    """Rank the distinct values of a score among the candidates, from 0 in ascending order; -1 elsewhere.

    Raises
    ------
    ValueError
        If the score of a candidate is not finite, so that it has no rank.
    """
    values = score[candidate]
    if not np.isfinite(values).all():
        raise ValueError("a score is NaN or infinite for some candidate pair")
    levels = np.full(score.shape, -1, np.int64)
    levels[candidate] = np.unique(values, return_inverse=True)[1]
    return levels


def count_levels(levels: Levels, chosen: Mask, n_levels: int) -> Floats:
    """Number of chosen pairs at each level, (n_levels,)."""
    return np.bincount(levels[chosen], minlength=n_levels).astype(np.float64)


def auroc(positive: Floats, negative: Floats) -> Floats:
    """Probability that a pair with a synapse scores higher than one without; ties count half.

    This is Mann-Whitney's U / (n n').

    Parameters
    ----------
    positive, negative : (..., n_levels)
        Number of pairs with and without a synapse at each level, in ascending order. The result is NaN where
        either is empty.
    """
    below = np.cumsum(negative, axis=-1) - negative
    pairs = positive.sum(-1) * negative.sum(-1)
    wins = (positive * (below + 0.5 * negative)).sum(-1)
    share: Floats = np.divide(wins, pairs, out=np.full(np.shape(pairs), np.nan), where=pairs > 0)
    return share


def average_precision(positive: Floats, negative: Floats) -> float:
    """Average precision, from counts as in `auroc`.

    The sum over thresholds of precision times the increase in recall, as in scikit-learn.
    """
    held = np.flatnonzero(positive)
    found = np.cumsum(positive[::-1])[::-1][held]
    false = np.cumsum(negative[::-1])[::-1][held]
    return float((positive[held] * found / (found + false)).sum() / positive.sum())


def resample_targets(n_targets: int, n_resamples: int, rng: np.random.Generator) -> Floats:
    """Number of times each target is drawn in each bootstrap resample, (n_resamples, n_targets)."""
    return rng.multinomial(n_targets, np.full(n_targets, 1 / n_targets), size=n_resamples).astype(np.float64)


def count_by_target(levels: Levels, chosen: Mask, n_levels: int) -> Floats:
    """Number of chosen pairs of each target at each level, (n_targets, n_levels)."""
    targets = np.broadcast_to(np.arange(levels.shape[1]), levels.shape)[chosen]
    n = levels.shape[1] * n_levels
    return np.bincount(targets * n_levels + levels[chosen], minlength=n).reshape(-1, n_levels).astype(np.float64)


def interval(point: float, positive: Floats, negative: Floats, draws: Floats) -> list[float]:
    """95 % bootstrap interval of an AUROC; targets are resampled.

    Parameters
    ----------
    point
        The exact AUROC. The interval is shifted by its difference from the AUROC of the coarse levels.
    positive, negative : (n_targets, n_levels)
        Number of pairs of each target with and without a synapse at each coarse level.
    draws : (n_resamples, n_targets)
        From `resample_targets`. Resamples without a positive or without a negative are skipped. If all are
        skipped, the interval is [0, 1].
    """
    resampled = auroc(draws @ positive, draws @ negative)
    resampled = resampled[np.isfinite(resampled)]
    if not len(resampled):
        return [0.0, 1.0]
    coarse = auroc(positive.sum(0), negative.sum(0))
    bounds = np.clip(np.quantile(resampled, INTERVAL) + (point - coarse), 0.0, 1.0)
    return [float(bound) for bound in bounds]


def score_class(score: NDArray[Any], edges: EdgeClass, n_bootstraps: int, seed: int) -> list[dict[str, Any]]:
    """Evaluate a score on an edge class as a whole and by weight stratum.

    The negatives are always all pairs without a synapse.

    Parameters
    ----------
    score : (n_sources, n_targets)
        The submatrix of this class. A higher score predicts a synapse, also for inhibition. An AUROC below
        0.5 means that connected pairs score lower, e.g. because inhibition anticorrelates their rates.
    n_bootstraps, seed
        Number and seed of the resamples of targets; the same resamples are used for every score.

    Returns
    -------
    list of dict
        stratum, auroc, ap, ci, n_positive, n_negative. Strata without a synapse are omitted. The list is
        empty if every pair has a synapse.
    """
    negative = edges.candidate & ~edges.synapse
    if not negative.any():
        return []
    levels = score_levels(score, edges.candidate)
    n_levels = int(levels.max()) + 1
    coarse, n_coarse = coarsen(levels, edges.candidate)
    draws = resample_targets(score.shape[1], n_bootstraps, np.random.default_rng(seed))
    negative_counts = count_levels(levels, negative, n_levels)
    negative_by_target = count_by_target(coarse, negative, n_coarse)
    rows = []
    for stratum, positive in {ALL: edges.synapse, **edges.strata}.items():
        if not positive.any():
            continue
        counts = count_levels(levels, positive, n_levels)
        point = float(auroc(counts, negative_counts))
        by_target = count_by_target(coarse, positive, n_coarse)
        rows.append(
            {
                "stratum": stratum,
                "auroc": point,
                "ap": average_precision(counts, negative_counts),
                "ci": interval(point, by_target, negative_by_target, draws),
                "n_positive": int(positive.sum()),
                "n_negative": int(negative.sum()),
            }
        )
    return rows


def coarsen(levels: Levels, candidate: Mask, n_coarse: int = BOOTSTRAP_LEVELS) -> tuple[Levels, int]:
    """Merge adjacent levels into at most `n_coarse` of similar size; return levels and their number."""
    counts = np.bincount(levels[candidate])
    below = np.cumsum(counts) - counts
    merged = np.unique(below * n_coarse // counts.sum(), return_inverse=True)[1]
    return np.where(candidate, merged[levels], -1), int(merged.max()) + 1


# --- the verdict --------------------------------------------------------------------------------------------


def verdict(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """Test "attention shows connectivity" for each edge class, method and attention score; see `conclusion`.

    Parameters
    ----------
    scores
        Rows of scores.json; only the stratum "all" is used. Rows of several seeds are merged: mean AUROC,
        union of the intervals. If several methods correlate rates in the same time range, the highest counts.

    Returns
    -------
    dict
        verdict[edge class][method][score]: trained, untrained, shuffled, rate_correlation (each {auroc, ci};
        None if missing), outcome, conclusion.
    """
    rows: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in scores:
        if row["stratum"] == ALL:
            rows.setdefault((row["edge_class"], row["method"], row["score"]), []).append(row)
    judged: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for (edge_class, method, name), attended in rows.items():
        if name not in ATTENTION_SCORES:
            continue
        controls = {
            "untrained": _merged(rows.get((edge_class, method, name + UNTRAINED), [])),
            "shuffled": _merged(rows.get((edge_class, method, name + SHUFFLED), [])),
            "rate_correlation": _highest_rate_correlation(rows, edge_class, attended[0]["time_range_ms"]),
        }
        trained = _merged(attended)
        assert trained is not None
        found = outcome(trained, **controls)
        sentence = conclusion(edge_class, found, trained, **controls)
        row = {"trained": trained, **controls, "outcome": found, "conclusion": sentence}
        judged.setdefault(edge_class, {}).setdefault(method, {})[name] = row
    return judged


def _highest_rate_correlation(
    rows: Mapping[tuple[str, str, str], Sequence[Mapping[str, Any]]], edge_class: str, time_range: Sequence[int]
) -> dict[str, Any] | None:
    """The correlation of rates with the highest AUROC among those of one edge class and time range."""
    found = [
        merged
        for (place, _, name), own in rows.items()
        if (place, name) == (edge_class, RATE_CORRELATION)
        and (merged := _merged([row for row in own if row["time_range_ms"] == time_range])) is not None
    ]
    return max(found, key=lambda one: one["auroc"], default=None)


def _merged(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Merge the rows of several seeds: mean AUROC, union of the intervals."""
    if not rows:
        return None
    lows, highs = zip(*(row["ci"] for row in rows), strict=True)
    return {"auroc": float(np.mean([row["auroc"] for row in rows])), "ci": [min(lows), max(highs)]}


OUTCOMES = {
    "chance": "No: not better than chance.",
    "below": "No: connected neurons score lower than others.",
    "untrained": "No: the untrained model scores as high.",
    "rates": "Not more than plain rate correlation.",
    "shows": "Yes: better than every control.",
}
"""What attention can show about an edge class, as short answers."""
_Merged = Mapping[str, Any] | None


def outcome(trained: Mapping[str, Any], untrained: _Merged, shuffled: _Merged, rate_correlation: _Merged) -> str:
    """Compare the interval of attention with its controls; one of `OUTCOMES`.

    The rules, in this order: the interval must not overlap the range for shuffled labels; it must be above
    this range; it must be above the interval of the untrained model; it must be above the AUROC of the rate
    correlation.
    """
    low, high = trained["ci"]
    null_low, null_high = shuffled["ci"] if shuffled else (0.5, 0.5)
    if low <= null_high and high >= null_low:
        return "chance"
    if high < null_low:
        return "below"
    if untrained and low <= untrained["ci"][1]:
        return "untrained"
    if rate_correlation and low <= rate_correlation["auroc"]:
        return "rates"
    return "shows"


def conclusion(
    edge_class: str, found: str, trained: Mapping[str, Any], untrained: _Merged, shuffled: _Merged, rate_correlation: _Merged
) -> str:
    """One sentence on what attention shows about an edge class, with its `outcome`."""
    low, high = trained["ci"]
    null_low, null_high = shuffled["ci"] if shuffled else (0.5, 0.5)
    what = f"{edge_class}: attention (AUROC {trained['auroc']:.3f}, 95 % interval {low:.3f} to {high:.3f})"
    null = f"shuffled labels ({null_low:.3f} to {null_high:.3f})"
    sentences = {
        "chance": f"{what} does not predict synapses better than {null}.",
        "below": f"{what} is less correlated between connected neurons than under {null}.",
        "untrained": f"{what} predicts synapses better than {null}, but not better than the untrained model "
        f"({untrained['auroc'] if untrained else 0:.3f}): the effect is not learnt.",
        "rates": f"{what} predicts synapses better than its controls, but not better than the correlation of rates, "
        f"which needs no model ({rate_correlation['auroc'] if rate_correlation else 0:.3f}).",
        "shows": f"{what} predicts synapses better than {null}, the untrained model and the correlation of rates.",
    }
    return sentences[found]
