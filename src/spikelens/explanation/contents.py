"""What the explanation holds beside its store: tables, one row a line.

The Snakefile declares them as outputs, so that this module imports nothing that takes time.
"""

from __future__ import annotations

from spikelens.files import NUMBER, Fields

SCORES = "scores.json"
"""How well each score of a pair of neurons tells whether there is a synapse; below the stage's folder."""
ASSOCIATIONS = "associations.json"
"""How attention goes with causal components and weights."""
TABLES = (SCORES, ASSOCIATIONS)
SCORE_FIELDS: Fields = {
    **dict.fromkeys(("score", "saw", "edge_class", "stratum"), str),
    **dict.fromkeys(("auroc", "ap"), NUMBER),
    **dict.fromkeys(("n_positive", "n_negative"), int),
    **dict.fromkeys(("ci", "time_range_ms"), list),
    "seed": dict,
}
"""What each row of scores.json has."""
