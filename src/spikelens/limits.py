"""Time limit of a running job. A job that will not finish in time exits early with a message.

Otherwise the scheduler would kill the job at its limit: its work would be lost, and the user would not learn
how much time it needs. The estimate is based on the job's own measured speed. `walltime` checks the limit
before submission.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

from spikelens.errors import SpikelensError

MARGIN = 0.05
"""Unused fraction of the limit: the scheduler's clock starts before the job's first process."""
_MEASURED_SHARE, _MEASURED_S = 0.1, 30.0
"""The speed is used once it was measured over this fraction of the limit, or over this time [s]."""


class Deadline:
    """The time at which a job must have finished.

    Parameters
    ----------
    limit_min : float
        Time limit [min].
    started : float
        Start time of the job on the clock `now` [s].
    after_s : float
        Time that the job needs after the measured work, e.g. to write results [s].
    now : function
        Returns the current time [s].
    """

    def __init__(self, limit_min: float, started: float, after_s: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.limit_min = limit_min
        self._started, self._after_s, self._now = started, after_s, now
        self._first: tuple[str, float, float] | None = None

    @property
    def elapsed_s(self) -> float:
        return self._now() - self._started

    @property
    def left_s(self) -> float:
        """Seconds until the limit, less the margin."""
        return 60 * self.limit_min * (1 - MARGIN) - self.elapsed_s

    def refuse_if_late(self, done: float, total: float, what: str, unit: str, remedy: str) -> None:
        """Raise if the work will not finish in time. Call it repeatedly with the amount that is done.

        The speed is measured from the first call for `what`, since code may be compiled before it.

        Raises
        ------
        SpikelensError
            With the amount done, the time needed, the limit and `remedy`, in which `{minutes}` is replaced by
            the time to request.
        """
        now = self._now()
        if self._first is None or self._first[0] != what:
            self._first = what, now, done
        _, first_s, first_done = self._first
        measured = now - first_s
        if done >= total or done <= first_done or measured < min(_MEASURED_S, _MEASURED_SHARE * 60 * self.limit_min):
            return
        needed_s = (total - done) * measured / (done - first_done) + self._after_s
        if needed_s <= self.left_s:
            return
        whole_min = (self.elapsed_s + needed_s) / 60
        raise SpikelensError(
            f"{what}: {done:,.0f} of {total:,.0f} {unit} in {_minutes(self.elapsed_s / 60)}; at this speed the job needs "
            f"{_minutes(whole_min)}, its limit is {_minutes(self.limit_min)} (--limit-min). "
            + remedy.format(minutes=minutes_to_request(whole_min))
        )

    def refuse_if_too_short(self, seconds: float, message: str) -> None:
        """Raise if less time is left than the given seconds plus the time that the job needs afterwards.

        Raises
        ------
        SpikelensError
            With the message, the time needed and the time left.
        """
        if seconds + self._after_s > self.left_s:
            left = max(self.left_s, 0.0) / 60
            needed = (seconds + self._after_s) / 60
            raise SpikelensError(f"{message} (needs {_minutes(needed)}; {_minutes(left)} left of {_minutes(self.limit_min)}, --limit-min)")


def minutes_to_request(needed_min: float) -> int:
    """Return the time to request [whole min] for a job that needs `needed_min`: plus margin and 10 %."""
    return math.ceil(1.1 * needed_min / (1 - MARGIN))


def process_started() -> float:
    """Return when this process started, as time.monotonic() [s]; without /proc, the current time.

    The start of the process counts, since imports from a busy file system take time.
    """
    now = time.monotonic()
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])  # field 22: start, since boot
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, IndexError, ValueError):
        return now


def _minutes(minutes: float) -> str:
    return f"{minutes:.3g} min" if minutes < 100 else f"{minutes:,.0f} min"
