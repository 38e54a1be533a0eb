"""Windows of time over which causal components are summed, and how far kernels reach back in time.

Windows are whole seconds, and a segment is a whole number of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from spikelens.config.types import CAUSAL_CUTOFF_TAUS, STEPS_PER_SECOND, Positive
from spikelens.errors import Problem

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig
    from spikelens.stores import Coordinate

WINDOW = "window_s"
"""Name of the option."""
_LONGEST_S = 20
Window = Annotated[Positive | None, Field(description="length of the windows [s]; null: greatest common divisor of 20 s and the segment")]


def window_s(run: RunConfig, given: int | None) -> int:
    """Length of a window [s]: as given, or the longest up to 20 s that divides both 20 s and the segment."""
    return math.gcd(_LONGEST_S, run.segment_s) if given is None else given


def check_window(run: RunConfig, where: str, given: int | None) -> Iterator[Problem]:
    if given is not None and run.segment_s % given:
        yield Problem(f"{where}.{WINDOW}", given, f"expected a divisor of {run.segment_s_key} = {run.segment_s}")


def check_reach(run: RunConfig, where: str, tau_ms: float, longest_delay: int = 0) -> Iterator[Problem]:
    """Refuse a kernel that extends beyond the previous segment."""
    if CAUSAL_CUTOFF_TAUS * tau_ms + longest_delay > run.segment_steps:
        delay = f" plus the longest delay, {longest_delay} ms," if longest_delay else ""
        largest = (run.segment_steps - longest_delay) / CAUSAL_CUTOFF_TAUS
        yield Problem(
            f"{where}.tau_ms",
            tau_ms,
            f"{CAUSAL_CUTOFF_TAUS} tau_ms{delay} is longer than a segment, {run.segment_steps:,} ms; expected at most {largest:.9g} ms; "
            f"use a smaller tau_ms or a larger {run.segment_s_key}",
        )


def n_windows(run: RunConfig, length_s: int) -> int:
    """Number of windows in the run; the last may be short."""
    return -(-run.duration_s // length_s)


def segment_windows(run: RunConfig, segment: int, length_s: int) -> list[tuple[int, int]]:
    """Start and end of a segment's windows [ms]; the run's last may be short."""
    start, end = run.segment_range(segment)
    width = length_s * STEPS_PER_SECOND
    return [(first, min(first + width, end)) for first in range(start, end, width)]


def window_coordinate(run: RunConfig, length_s: int) -> dict[str, Coordinate]:
    from spikelens.stores import time_coordinate

    return time_coordinate(n_windows(run, length_s), length_s * STEPS_PER_SECOND, dim="window", long_name="start of the window")


def windows_within(run: RunConfig, time_range: tuple[int, int], length_s: int) -> range:
    """The windows that are completely inside a range [ms]."""
    length, (start, end) = length_s * STEPS_PER_SECOND, time_range
    # the run's last window may be short
    last = n_windows(run, length_s) if end >= run.n_steps else end // length
    return range(-(-start // length), last)


def windows_range(run: RunConfig, windows: range, length_s: int) -> tuple[int, int]:
    """The time that windows cover [ms]."""
    length = length_s * STEPS_PER_SECOND
    return windows.start * length, min(windows.stop * length, run.n_steps)
