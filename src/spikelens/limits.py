"""The time by which a job must have ended: one that sees that it will not make it ends early, with a message, and is not killed.

A scheduler ends a job at its limit, wherever it is; what it had done by then is lost, and nobody is told how long it would have
needed. No speed is assumed here: a job is judged by its own pace. `walltime` judges plans.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from spikelens.errors import SpikelensError

MARGIN = 0.05
"""Share of the limit that is left alone: a scheduler's clock starts before the job's first process does."""
_MEASURED_SHARE, _MEASURED_S = 0.1, 30.0
"""Work is judged once its pace was measured for this share of the limit, or for so many seconds."""


class Deadline:
    """The end of a job's time.

    Parameters
    ----------
    limit_min : float
        How long it may run [min].
    started : float
        When it began, as `now` tells it [s].
    then_s : float
        How long it needs after the work that is judged, for instance to write what it made [s].
    now : function
        Tells the time [s].
    """

    def __init__(self, limit_min: float, started: float, then_s: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.limit_min = limit_min
        self._started, self._then_s, self._now = started, then_s, now
        self._first: tuple[str, float, float] | None = None

    @property
    def elapsed_s(self) -> float:
        return self._now() - self._started

    @property
    def left_s(self) -> float:
        """Seconds until the limit, less the margin."""
        return 60 * self.limit_min * (1 - MARGIN) - self.elapsed_s

    def refuse_if_late(self, done: float, total: float, what: str, unit: str, remedy: str) -> None:
        """Refuse to go on with work that will not be done in time; called as it goes on, with what is done of the total.

        The pace is measured from the first call for `what` on: before it, code may have been compiled.

        Raises
        ------
        SpikelensError
            With what is done, how long all would take, the limit, and what to do, in which `{minutes}` stands for the time to ask for.
        """
        now = self._now()
        if self._first is None or self._first[0] != what:
            self._first = what, now, done
        _, first_s, first_done = self._first
        measured = now - first_s
        if done >= total or done <= first_done or measured < min(_MEASURED_S, _MEASURED_SHARE * 60 * self.limit_min):
            return
        needed_s = (total - done) * measured / (done - first_done) + self._then_s
        if needed_s <= self.left_s:
            return
        whole_min = (self.elapsed_s + needed_s) / 60
        raise SpikelensError(
            f"{what}: {done:,.0f} of {total:,.0f} {unit} in {_minutes(self.elapsed_s / 60)}; at this pace the job needs "
            f"{_minutes(whole_min)}, and may run {_minutes(self.limit_min)} (--limit-min). " + remedy.format(minutes=to_ask_for(whole_min))
        )

    def refuse_if_too_short(self, seconds: float, message: str) -> None:
        """Refuse to begin with work that takes so many seconds, and what follows it, if they are not left.

        Raises
        ------
        SpikelensError
            With the message, and with the time that is needed and left.
        """
        if seconds + self._then_s > self.left_s:
            left = max(self.left_s, 0.0) / 60
            needed = (seconds + self._then_s) / 60
            raise SpikelensError(
                f"{message} ({_minutes(needed)} are needed, and {_minutes(left)} are left of {_minutes(self.limit_min)}, --limit-min)"
            )


def to_ask_for(needed_min: float) -> int:
    """Whole minutes to ask for, for a job that is seen to need so many: with the margin, and a tenth for a pace that varies."""
    return math.ceil(1.1 * needed_min / (1 - MARGIN))


def process_started() -> float:
    """When this process began, as time.monotonic() tells it [s]: imports from a busy file system count. Without /proc: now."""
    now = time.monotonic()
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])  # field 22: start, since boot
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, IndexError, ValueError):
        return now


def _minutes(minutes: float) -> str:
    return f"{minutes:.3g} min" if minutes < 100 else f"{minutes:,.0f} min"
