"""Where each stage describes itself: `<stage>/stage.py`, with the same five functions everywhere.

    reads(run, item)                     what the results are computed from
    configured(run, item)                the configuration that they depend on, besides what they read
    jobs(run, item)                      the jobs and their files
    memory(run, item, rate_hz)           of one rank of a job [bytes]
    seconds(run, item, speeds, rate_hz)  of a job [s]

A stage whose jobs use MPI also has `ranks(run, item)`. `item` is empty for what a stage computes as a whole.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from spikelens.names import Stage


def stage_module(stage: Stage) -> ModuleType:
    """The description of a stage; imported when it is asked for."""
    return importlib.import_module(f"spikelens.{stage}.stage")
