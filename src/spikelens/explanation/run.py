"""First half of the explanation stage: compute the output of one method."""

from __future__ import annotations

import logging
import time

from spikelens.config import RunConfig
from spikelens.outputs import method_output, write_output
from spikelens.stores import ensure

log = logging.getLogger(__name__)


def compute(run: RunConfig, name: str, block: int | None = None) -> None:
    """Compute the output of a method, all of it or for one block of targets, and write it to its store."""
    started, method = time.monotonic(), run.methods[name]
    found = method.compute(run) if block is None else method.compute_targets(run, block)
    group = method_output(run, name)
    ensure(group)
    write_output(name, [group], found, block=block or 0)
    log.info("%s: %d arrays in %.1f s", name, len(found), time.monotonic() - started)
