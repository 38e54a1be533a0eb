"""Exceptions for errors that the user can fix.

A command prints a `SpikelensError` as one message, without a traceback, and exits with code 2. Any other
exception is a bug in spikelens and keeps its traceback.
"""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from typing import Any


class SpikelensError(Exception):
    """An error that the user can fix. The message says what was given, what was expected and what to do."""


class StoreError(SpikelensError):
    """A shard is missing, empty or damaged, or a store has a different layout."""


class NetworkError(SpikelensError):
    """The network cannot be simulated: invalid edge table, or weights outside the integer range."""


class SimulationError(SpikelensError):
    """The simulation cannot continue: wrong number of ranks, state of another run, diverged membrane."""


class LostRankError(SpikelensError):
    """Another rank died while this rank was waiting for it; that rank or the watcher reports the cause."""


def user_message(error: BaseException) -> str | None:
    """Return the message for an error that the user can fix, or None if it is a bug in spikelens."""
    if isinstance(error, SpikelensError):
        return str(error)
    if is_out_of_memory(error):
        reason = error or "allocation failed"
        return f"out of memory ({reason}); use machines with more memory, fewer ranks per machine, or a smaller network"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"{error.filename or 'a file'} cannot be written: {error.strerror}; {disk_remedy(error)}, then run the same command again"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out; starting a thread then fails because its stack cannot be allocated."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't start new thread" in str(error))


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def disk_remedy(error: OSError) -> str:
    """Return what to do about a file that cannot be written."""
    return "free space (`du -sh results/*` shows what uses it)" if error.errno in _DISK_FULL else "make it writable"


NOT_GIVEN = object()
"""Value of a key that a configuration does not contain."""


@dataclass(frozen=True)
class Problem:
    """One error in a configuration: the key, its value (as in YAML) and what was expected."""

    key: str
    value: Any
    expected: str

    def __str__(self) -> str:
        if self.value is NOT_GIVEN:
            return f"{self.key} is not given: {self.expected}"
        try:
            value = json.dumps(self.value, default=str, ensure_ascii=False)
        except ValueError:  # a YAML alias can make a list contain itself
            value = repr(self.value)
        shown = value if len(value) <= 80 else value[:77] + "..."
        return f"{self.key} = {shown}: {self.expected}"


class ConfigError(SpikelensError):
    """An invalid configuration. `problems` lists all errors found, not only the first."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.problems = problems
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{source} cannot be run:\n{lines}")
