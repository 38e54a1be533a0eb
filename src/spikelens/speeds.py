"""Expected time of each job, from the sizes of a run and the measured speeds of a machine.

`speeds.json` contains the speeds of the machine that it names; `python -m benchmarks.speeds --out FILE`
measures those of this machine. Training is assumed to run for all its epochs; early stopping may end it sooner.
"""

from __future__ import annotations

import functools
import math
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from spikelens.config import (
    ASSUMED_RATE_HZ,
    RunConfig,
    Section,
)
from spikelens.errors import SpikelensError
from spikelens.jobs import Rule, item_of, stage_of
from spikelens.refusals import problems_of
from spikelens.stages import stage_module

Speed = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SAFETY = 3.0
"""Requested time relative to expected time. The cores of a cluster may be slower than the measured ones or
shared, a network may be more active than assumed, and a job that is killed at its limit starts again."""
LEAST_MIN = 10
"""Time added for the start of each job: imports and compilation on a shared file system [min]."""


class Speeds(Section):
    """Measured costs on one core, each per unit of the quantity that it scales with."""

    machine: Annotated[str, Field(description="processor, cores, and the date of the measurement")]
    job_s: Annotated[Speed, Field(description="overhead of snakemake per job [s]")]
    start_s: Annotated[Speed, Field(description="start of a process with compiled code [s]")]
    start_torch_s: Annotated[Speed, Field(description="start of a process with torch [s]")]
    network_ns_per_synapse: Annotated[Speed, Field(description="drawing and writing a synapse [ns]")]
    load_ns_per_synapse: Annotated[Speed, Field(description="reading a synapse and sorting it for delivery [ns]")]
    event_ns: Annotated[
        tuple[tuple[Speed, Speed], ...],
        Field(min_length=1, description="(synapses per rank, cost of a synaptic event with STDP [ns]), in increasing order"),
    ]
    neuron_step_ns: Annotated[Speed, Field(description="updating a neuron by one step of 1 ms [ns]")]
    step_us: Annotated[Speed, Field(description="overhead per step, with several ranks or many neurons [us]")]
    read_ms_per_file: Annotated[Speed, Field(description="overhead of reading a shard [ms]")]
    write_ms_per_file: Annotated[Speed, Field(description="overhead of writing a shard and syncing it to disk [ms]")]
    write_ns_per_synapse: Annotated[Speed, Field(description="sorting weight and change of a synapse for storage, and writing them [ns]")]
    write_ns_per_cell: Annotated[Speed, Field(description="writing one neuron and millisecond of the raster [ns]")]
    read_ns_per_cell: Annotated[Speed, Field(description="reading one neuron and millisecond of the raster for features [ns]")]
    replay_ns_per_event: Annotated[Speed, Field(description="STDP and causal components, per synaptic event [ns]")]
    dense_ns_per_pair: Annotated[Speed, Field(description="causal components of all pairs, per spike and source [ns]")]
    autoencoder_ps_per_weight: Annotated[Speed, Field(description="training, per weight, time step and sequence [ps]")]
    tft_batch_ms: Annotated[Speed, Field(description="training, per batch [ms]")]
    tft_ns_per_unit: Annotated[Speed, Field(description="training, per window, time step and unit of hidden_size [ns]")]
    score_ns_per_pair: Annotated[Speed, Field(description="explanation, per pair of neurons and per shuffle or bootstrap [ns]")]
    report_s: Annotated[Speed, Field(description="figures and tables [s]")]

    def reading_seconds(self, run: RunConfig) -> float:
        """Time to read the raster of the whole run [s]."""
        return 1e-9 * run.n_steps * run.n_neurons * self.read_ns_per_cell


def read_speeds(path: Path | None = None) -> Speeds:
    """Read a file of speeds (None: the one in the package).

    Raises
    ------
    SpikelensError
        If the file does not exist, or is not valid.
    """
    if path is None:
        return Speeds.model_validate_json(resources.files("spikelens").joinpath("speeds.json").read_bytes())
    if not path.is_file():
        raise SpikelensError(f"{path}: no such file; `python -m benchmarks.speeds --out {path}` measures this machine and writes it")
    try:
        return Speeds.model_validate_json(path.read_bytes())
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            problems = [f"it is not JSON ({error.errors()[0]['ctx']['error']})"]
        else:
            problems = list(map(str, problems_of(Speeds, error)))
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SpikelensError(f"{path} is not a valid speeds file; `python -m benchmarks.speeds --out FILE` writes one:\n{lines}") from None


@functools.cache
def shipped() -> Speeds:
    """The speeds in the package, read once per process: the request of each rule uses them."""
    return read_speeds()


# --- minutes to request -------------------------------------------------------------------------------------------------


def runtime_min(run: RunConfig, rule: Rule, speeds: Speeds | None = None) -> int:
    """Time to request for one job of a rule [whole min], at most cluster.limit_min; speeds: None for those in the package."""
    wanted = LEAST_MIN + math.ceil(SAFETY * job_seconds(run, rule, speeds or shipped()) / 60)
    return wanted if run.cluster.limit_min is None else min(wanted, run.cluster.limit_min)


# --- seconds of a job ---------------------------------------------------------------------------------------------------


def job_seconds(run: RunConfig, rule: Rule, speeds: Speeds, rate_hz: float = ASSUMED_RATE_HZ) -> float:
    """Expected wall time of one job of a rule, including the start of its process [s]; the mean over its jobs."""
    return float(stage_module(stage_of(rule)).seconds(run, item_of(rule), speeds, rate_hz))
