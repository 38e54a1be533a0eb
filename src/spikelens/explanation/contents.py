"""What the explanation holds beside its store: tables, one row a line.

The Snakefile declares them as outputs, so that this module imports nothing that takes time.
"""

from __future__ import annotations

SCORES = "scores.json"
"""How well each score of a pair of neurons tells whether there is a synapse; below the stage's folder."""
ASSOCIATIONS = "associations.json"
"""How attention goes with causal components and weights."""
TABLES = (SCORES, ASSOCIATIONS)
