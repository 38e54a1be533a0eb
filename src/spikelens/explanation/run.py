"""First half of the explanation stage: compute the output of one method."""

from __future__ import annotations

import logging
import time

import numpy as np

from spikelens.config import RunConfig
from spikelens.stores import ensure, method_output, write_shard

log = logging.getLogger(__name__)


def compute(run: RunConfig, name: str) -> None:
    """Compute the output of a method and write it to its store."""
    started, output = time.monotonic(), method_output(run, name)
    ensure(output)
    for array, values in run.methods[name].compute(run).items():
        write_shard(output, array, (0,) * values.ndim, np.ascontiguousarray(values, output.arrays[array].dtype))
    log.info("%s: %d arrays in %.1f s", name, len(output.arrays), time.monotonic() - started)
