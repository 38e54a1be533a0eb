"""What the report holds: each item's file, its caption and the section it stands in.

The Snakefile declares the items as outputs, so that this module imports nothing that takes time.
"""

from __future__ import annotations

from typing import NamedTuple

from spikelens.config import STAGES, Stage


class Item(NamedTuple):
    """One figure or table of the report."""

    name: str
    file: str
    """Below the stage's folder."""
    caption: str
    """Below workflow/report."""
    category: str
    """The stage that made what is shown, numbered: Snakemake's report sorts its sections by name."""


def _section(stage: Stage) -> str:
    return f"{STAGES.index(stage) + 1} {stage}"


def _figure(name: str, stage: Stage) -> Item:
    return Item(name, f"{name}.svg", f"{name}.rst", _section(stage))


FIGURES: tuple[Item, ...] = (
    _figure("network", "network"),
    _figure("raster_and_rates", "simulation"),
    _figure("weights", "simulation"),
    _figure("omega", "features"),
    _figure("learning", "models"),
    _figure("forecast_population", "models"),
    _figure("forecast_neurons", "models"),
    _figure("reconstruction", "explanation"),
    _figure("encoder", "explanation"),
    _figure("attention", "explanation"),
    _figure("scores", "explanation"),
    Item("scores_table", "scores.html", "scores_table.rst", _section("explanation")),
)
"""In the order in which a reader meets them."""

SUMMARY = "summary.json"
"""Below the stage's folder."""
