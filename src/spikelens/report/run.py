"""The report of a run, made from its stores: the figures, the page with figures and tables, and the summary."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from spikelens.config import RunConfig, Stage
from spikelens.files import write_atomically
from spikelens.layouts import layout
from spikelens.outputs import item_outputs
from spikelens.places import place_of
from spikelens.report import page, style
from spikelens.report.contents import COPIES, PAGE, SUMMARY, Shown, figures_of
from spikelens.report.remarks import remarks
from spikelens.report.summary import facts_of, write_summary
from spikelens.stores import naming_damage

log = logging.getLogger(__name__)


def make_report(run: RunConfig, benchmarks: Mapping[Stage, Iterable[Path]] | None = None) -> None:
    """Write the figures, the page and summary.json into the stage's folder; the same stores give the same bytes, except for wall times.

    Parameters
    ----------
    benchmarks
        Snakemake's benchmark files of the jobs of each stage (`jobs.benchmarks_of`), for the times in summary.json.

    Raises
    ------
    StoreError
        If a shard or a result of an earlier stage is missing or damaged.
    """
    started, folder, drawings = time.monotonic(), place_of(run, "report"), {}
    for remark in remarks(run):
        log.warning("%s: %s", run.path, remark)
    for shown in figures_of(run):
        drawings[shown.name] = render(run, shown)
        write_atomically(folder / shown.file, drawings[shown.name].svg)
        log.info("report: %s, %d kB", shown.file, len(drawings[shown.name].svg) // 1000)
    facts = facts_of(run, benchmarks)
    write_atomically(folder / PAGE, page.page(run, drawings, facts).encode())
    write_summary(run, facts, time.monotonic() - started)
    for file, copy in zip((PAGE, SUMMARY), COPIES, strict=True):
        write_atomically(folder / copy, (folder / file).read_bytes())
    log.info("report: %d figures in %.1f s", len(drawings), time.monotonic() - started)


def render(run: RunConfig, shown: Shown) -> style.Drawing:
    """Draw a figure of a run."""
    with style.styled(), naming_damage(layout(run, "spikes"), *item_outputs(run)):
        figure = shown.draw(run)
        return style.Drawing(style.svg_bytes(figure), style.frames(figure))
