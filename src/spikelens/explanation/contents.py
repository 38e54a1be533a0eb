"""Tables of the explanation stage: one row per line. Names of scores that methods and the verdict share.

The Snakefile declares the tables as outputs, so this module avoids slow imports.
"""

from __future__ import annotations

from spikelens.files import NUMBER, Fields

SCORES = "scores.json"
"""How well each score of pairs of neurons predicts synapses; in the folder of the stage."""
ASSOCIATIONS = "associations.json"
"""Correlations of attention with causal components and weights."""
TABLES = (SCORES, ASSOCIATIONS)
SCORE_FIELDS: Fields = {
    **dict.fromkeys(("method", "score", "saw", "edge_class", "stratum"), str),
    **dict.fromkeys(("auroc", "ap"), NUMBER),
    **dict.fromkeys(("n_positive", "n_negative"), int),
    **dict.fromkeys(("ci", "time_range_ms"), list),
    "seed": dict,
}
"""Fields of each row of scores.json."""

ATTENTION_SCORES = ("attention_correlation", "attention_correlation_aligned")
"""Correlation between neurons of their attention, averaged over test windows and window by window."""
RATE_CORRELATION = "rate_correlation"
OMEGA_DENSE = "omega_dense"
"""Causal components of all pairs, without weight and delay."""
UNTRAINED = ", untrained"
"""Suffix of a score of the same model before training."""
SHUFFLED = ", labels shuffled"
"""Suffix of a score evaluated against shuffled labels."""


def is_attention(score: str) -> bool:
    """Whether a score is computed from attention, of a trained or an untrained model."""
    return score.removesuffix(UNTRAINED) in ATTENTION_SCORES
