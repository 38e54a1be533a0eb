"""First half of the explanation stage: compute the output of one method."""

from __future__ import annotations

import logging
import time

import numpy as np

from spikelens.config import RunConfig
from spikelens.outputs import method_output
from spikelens.stores import ensure, write_shard

log = logging.getLogger(__name__)


def compute(run: RunConfig, name: str, block: int | None = None) -> None:
    """Compute the output of a method, all of it or for one block of targets, and write it to its store."""
    started, output, method = time.monotonic(), method_output(run, name), run.methods[name]
    ensure(output)
    found = method.compute(run) if block is None else method.compute_targets(run, block)
    for array, values in found.items():
        spec = output.arrays[array]
        index = [(block or 0) if kind == "block" else 0 for kind in spec.by or ("",) * values.ndim]
        write_shard(output, array, index, np.ascontiguousarray(values, spec.dtype))
    log.info("%s: %d arrays in %.1f s", name, len(found), time.monotonic() - started)
