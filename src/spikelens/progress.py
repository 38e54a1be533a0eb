"""Show the progress of long work: rate and time left. A terminal line is redrawn; otherwise lines are logged.

Jobs of a workflow share one terminal and have log files. They always log lines, since several jobs would
redraw the same line.
"""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

log = logging.getLogger(__name__)


class Progress:
    """Show the progress of one task; `with Progress("simulating", 60_000, "steps") as p: p.update(done)`."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._start = time.monotonic()
        self._shown = self._start
        keeps_log = any(isinstance(handler, logging.FileHandler) for handler in logging.getLogger().handlers)
        self._terminal = sys.stderr.isatty() and not keeps_log
        self._every_s = 0.2 if self._terminal else 5.0

    def __enter__(self) -> Progress:
        return self

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of the total are done, unless the last output is too recent."""
        now = time.monotonic()
        if now - self._shown < self._every_s and done < self._total:
            return
        self._shown = now
        seconds = max(now - self._start, 1e-9)
        rate = done / seconds
        left = (self._total - done) / rate if rate > 0 else float("inf")
        text = f"{self._what}: {done:,} of {self._total:,} {self._unit}, {rate:,.3g} {self._unit}/s, {left:,.0f} s left {note}".rstrip()
        if self._terminal:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
        else:
            log.info(text)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._terminal:
            sys.stderr.write("\n")
