"""The report of a run: every figure, the table and the summary, drawn from its stores."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from matplotlib.figure import Figure

from spikelens.config import RunConfig
from spikelens.places import stage_folder
from spikelens.report import activity, explained, learned, style, table
from spikelens.report.contents import FIGURES
from spikelens.report.summary import write_summary
from spikelens.stores import layout, naming_damage, write_atomically

log = logging.getLogger(__name__)

_DRAWN: dict[str, Callable[[RunConfig], Figure]] = {
    "network": activity.network,
    "raster_and_rates": activity.raster_and_rates,
    "weights": activity.weights,
    "learning": learned.learning,
    "forecast_population": learned.forecast_population,
    "forecast_neurons": learned.forecast_neurons,
    "reconstruction": learned.reconstruction,
    "encoder": learned.encoder,
    "attention": explained.attention,
    "omega": explained.omega,
    "scores": explained.scores,
}


def make_report(run: RunConfig) -> None:
    """Write the items of `FIGURES` and summary.json into the stage's folder; the same stores give the same bytes, wall times apart.

    Raises
    ------
    StoreError
        If a shard or a result of an earlier stage is missing or damaged.
    """
    started = time.monotonic()
    for item in FIGURES:
        with naming_damage(layout(run, "spikes"), layout(run, "explanation")):
            content = render(run, item.name) if item.name in _DRAWN else table.page(run).encode()
        write_atomically(stage_folder(run, "report") / item.file, content)
        log.info("report: %s, %d kB", item.file, len(content) // 1000)
    write_summary(run, time.monotonic() - started)
    log.info("report: %d items in %.1f s", len(FIGURES), time.monotonic() - started)


def render(run: RunConfig, name: str) -> bytes:
    """One figure of `FIGURES` as SVG."""
    with style.styled():
        return style.svg_bytes(_DRAWN[name](run))
