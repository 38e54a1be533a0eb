"""What the sections of a configuration have in common: bounds, types of numbers, and what a section is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_DELAY_MS = 255
"""Delays are stored as one byte."""
MAX_WEIGHT_MV = 32_768
"""Weights are 32-bit integers in units of 2^-16 mV: their size is below this."""
MIN_SHARE_WITHIN = 0.01
"""A truncated distribution has at least this share within its bounds: values are drawn until one is."""
MAX_TABLE_NEURONS = 2**28
"""Up to so many neurons an edge of a table (target, source, delay) fits in 64 bits."""
MAX_CONNECTIONS = 65_536
"""Each connection has random streams of its own, numbered by 16 bits."""
MAX_DENSE_NEURONS = 5_000
"""Dense source x target matrices are refused above this."""
MAX_SHARD_BYTES = 256 * 2**20
MAX_SHARDS_PER_JOB = 1_000
MAX_SHARDS_PER_RUN = 20_000
MAX_RECORDED = 4_096
"""`simulation.record` takes at most so many neurons, and so many pairs: it is gathered on one rank."""
MAX_AVERAGED_SYNAPSES = 10_000_000
"""`simulation.weight_average: auto` keeps averages up to this many expected synapses."""
CAUSAL_CUTOFF_TAUS = 20
"""Exponential kernels are zero by definition beyond this many time constants."""
MAX_RUNS = 10_000
"""Runs of a sweep."""
STEPS_PER_SECOND = 1_000
"""dt is 1 ms everywhere."""

Positive = Annotated[int, Field(gt=0, lt=2**31)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Scalar = str | bool | int | float | None


class Section(BaseModel):
    """A part of the configuration: no unknown key, no change after loading.

    A new field names the value, as JSON has it, that gives the results of before it was there. With this value it enters no key, so
    these results are found again: `depth: Annotated[Positive, Field(json_schema_extra={"neutral": 1}, description="...")] = 1`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


def values(given: Any) -> Iterable[Any]:
    """The values of a mapping; none of anything else, which pydantic refuses."""
    return given.values() if isinstance(given, Mapping) else ()


def whole(given: Any) -> int | None:
    """A whole number above 0; None for anything else, which pydantic refuses."""
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else None
