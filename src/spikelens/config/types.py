"""Bounds, number types and the base class that the sections of a configuration share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_DELAY_MS = 255
"""Delays are stored as one byte."""
MAX_WEIGHT_MV = 32_768
"""Weights are 32-bit integers in units of 2^-16 mV, so their absolute value is below this."""
MIN_SHARE_WITHIN = 0.01
"""Minimum probability of a truncated distribution within its bounds; values outside are drawn again."""
MAX_TABLE_NEURONS = 2**28
"""Maximum number of neurons for which an edge (target, source, delay) fits in 64 bits."""
MAX_CONNECTIONS = 65_536
"""Each connection has its own random streams, with a 16-bit number."""
MAX_DENSE_NEURONS = 5_000
"""Maximum number of neurons for dense source x target matrices."""
MAX_SHARD_BYTES = 256 * 2**20
MAX_SHARDS_PER_JOB = 1_000
MAX_SHARDS_PER_RUN = 20_000
MAX_RECORDED = 4_096
"""Maximum number of neurons, and of pairs, in `simulation.record`, since one rank gathers the values."""
MAX_AVERAGED_SYNAPSES = 10_000_000
"""`simulation.weight_average: auto` stores averages up to this expected number of synapses."""
CAUSAL_CUTOFF_TAUS = 20
"""Exponential kernels are defined as zero beyond this number of time constants."""
MAX_RUNS = 10_000
"""Maximum number of runs in a sweep."""
STEPS_PER_SECOND = 1_000
"""The time step is always 1 ms."""

Positive = Annotated[int, Field(gt=0, lt=2**31)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Scalar = str | bool | int | float | None


class Section(BaseModel):
    """Base class of the parts of a configuration. Unknown keys are errors, and instances are immutable.

    A new field must declare as `neutral` the (JSON) value that reproduces results from before the field
    existed. The field is left out of fingerprints if it has this value, so those results are still found:
    `depth: Annotated[Positive, Field(json_schema_extra={"neutral": 1}, description="...")] = 1`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


def values(given: Any) -> Iterable[Any]:
    """Return the values of a mapping; nothing for other types, which pydantic rejects."""
    return given.values() if isinstance(given, Mapping) else ()


def whole(given: Any) -> int | None:
    """Return `given` if it is an integer above 0, else None; pydantic rejects other values."""
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else None
