"""The section `features`: quantities computed from the spikes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from spikelens.config.items import AnyKind, ItemName, completed
from spikelens.config.types import MAX_SHARD_BYTES
from spikelens.errors import Problem
from spikelens.features.feature import Feature

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

REFERENCE: dict[str, dict[str, Any]] = {name: {"kind": name} for name in ("spike_counts", "traces", "omega_pairs", "omega_synapses")}
"""The features of the reference run."""

Features = Annotated[
    dict[ItemName, Annotated[Feature, AnyKind("features")]],
    BeforeValidator(lambda given: completed(given, REFERENCE)),
    Field(description="features by name, each of a kind; default: the features of the reference run, which given features replace"),
]


def check_features(run: RunConfig) -> Iterator[Problem]:
    for name, feature in run.computed_features.items():
        problems = list(feature.check(run, f"features.{name}"))
        yield from problems or _check_shards(run, name, feature)


def _check_shards(run: RunConfig, name: str, feature: Feature) -> Iterator[Problem]:
    """Refuse shards of more than MAX_SHARD_BYTES. Arrays over synapses are not checked, and neither are the weights."""
    import numpy as np  # imported here, so that the command line can load the configuration's types without it

    for arrays, _ in filter(None, (feature.output(run), feature.block_output(run, 0, 1))):
        for array, spec in arrays.items():
            size = math.prod(spec.shards) * np.dtype(spec.dtype).itemsize
            if size > MAX_SHARD_BYTES:
                yield Problem(
                    f"features.{name}",
                    feature.kind,
                    f"a shard of {array} would hold {size / 2**20:,.0f} MB, expected at most {MAX_SHARD_BYTES // 2**20} MB; use a smaller "
                    f"{run.segment_s_key}, smaller blocks, or other options",
                )
