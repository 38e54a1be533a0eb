"""What the report holds: each item's file, its caption and the section it stands in.

The Snakefile declares the items as outputs, so that this module imports nothing that takes time.
"""

from __future__ import annotations

from typing import NamedTuple

from spikelens.config import Stage


class Item(NamedTuple):
    """One figure or table of the report."""

    name: str
    file: str
    """Below the run's folder."""
    caption: str
    """Below workflow/report."""
    category: Stage
    """The stage that made what is shown."""


def _figure(name: str, category: Stage) -> Item:
    return Item(name, f"report/{name}.svg", f"{name}.rst", category)


FIGURES: tuple[Item, ...] = (
    _figure("network", "network"),
    _figure("raster_and_rates", "simulation"),
    _figure("weights", "simulation"),
    _figure("learning", "models"),
    _figure("forecast_population", "models"),
    _figure("forecast_neurons", "models"),
    _figure("reconstruction", "explanation"),
    _figure("encoder", "explanation"),
    _figure("attention", "explanation"),
    _figure("omega", "explanation"),
    _figure("scores", "explanation"),
    Item("scores_table", "report/scores.html", "scores_table.rst", "explanation"),
)
"""In the order in which a reader meets them."""

SUMMARY = "summary.json"
"""Below the run's folder."""
