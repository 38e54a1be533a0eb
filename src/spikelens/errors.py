"""The errors a user can cause or meet, each with what to do about it.

Everything below `SpikelensError` is printed as one message and ends a command with exit code 2, without a
traceback; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from typing import Any


class SpikelensError(Exception):
    """A fault that the user can mend: the message says what was given, what was expected, and what to do."""


class StoreError(SpikelensError):
    """A shard is missing, empty or damaged, or a store was made with another layout."""


class NetworkError(SpikelensError):
    """A network that cannot be simulated: a bad edge table, or weights beyond the integer range."""


class SimulationError(SpikelensError):
    """The simulation cannot start or go on: wrong number of ranks, foreign state, a membrane that blew up."""


class LostRankError(SpikelensError):
    """Another rank ended while this one waited for it; why, that one has to say, or whoever watches it."""


def mendable(error: BaseException) -> str | None:
    """What to tell the user of an error that they can mend; None if it is a bug of ours."""
    if isinstance(error, SpikelensError):
        return str(error)
    if is_out_of_memory(error):
        return f"out of memory ({error or 'no more could be had'}); use a machine with more, fewer ranks on each, or a smaller network"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"{error.filename or 'a file'} cannot be written: {error.strerror}; {disk_remedy(error)}, then run the same again"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out: a new thread finds none for its stack."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_remedy(error: OSError) -> str:
    """What to do about a file that cannot be written."""
    return "free space (`du -sh results/*` tells what takes it)" if error.errno in _DISK_FULL else "make it writable"


NOT_GIVEN = object()
"""The value of a key that does not stand in a configuration."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: which key, what stands there (as YAML shows it), and what was expected."""

    key: str
    value: Any
    expected: str

    def __str__(self) -> str:
        if self.value is NOT_GIVEN:
            return f"{self.key} is not given: {self.expected}"
        try:
            value = json.dumps(self.value, default=str, ensure_ascii=False)
        except ValueError:  # YAML's aliases can put a list into itself
            value = repr(self.value)
        shown = value if len(value) <= 80 else value[:77] + "..."
        return f"{self.key} = {shown}: {self.expected}"


class ConfigError(SpikelensError):
    """A configuration that cannot be run; `problems` lists every fault found, not only the first."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source} cannot be run:\n{lines}")
