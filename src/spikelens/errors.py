"""The errors a user can cause or meet, each with what to do about it.

Everything below `SpikelensError` is printed as one message and ends a command with exit code 2, without a
traceback; any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

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
