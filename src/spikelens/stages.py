"""Descriptions of the stages: each `<stage>/stage.py` has the same five functions.

    reads(run, item)                     the results that the computation reads
    configured(run, item)                the configuration that its results depend on, without that of the results read
    jobs(run, item)                      the jobs and their files
    memory(run, item, rate_hz)           expected memory of one rank of a job [bytes]
    seconds(run, item, speeds, rate_hz)  expected time of a job [s]

A stage whose jobs use MPI also has `ranks(run, item)`. `item` is "" for a whole stage.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from spikelens.names import Stage


def stage_module(stage: Stage) -> ModuleType:
    """The description of a stage; it is imported on first use."""
    return importlib.import_module(f"spikelens.{stage}.stage")
