"""Tables of the explanation stage, besides its store: one row per line.

The Snakefile declares them as outputs, so this module avoids slow imports.
"""

from __future__ import annotations

from spikelens.files import NUMBER, Fields

SCORES = "scores.json"
"""How well each score of pairs of neurons predicts synapses; in the folder of the stage."""
ASSOCIATIONS = "associations.json"
"""Correlations of attention with causal components and weights."""
TABLES = (SCORES, ASSOCIATIONS)
SCORE_FIELDS: Fields = {
    **dict.fromkeys(("score", "saw", "edge_class", "stratum"), str),
    **dict.fromkeys(("auroc", "ap"), NUMBER),
    **dict.fromkeys(("n_positive", "n_negative"), int),
    **dict.fromkeys(("ci", "time_range_ms"), list),
    "seed": dict,
}
"""Fields of each row of scores.json."""
