"""How long each job takes: measured speeds of a machine, and seconds that follow from them and a run's sizes.

`speeds.json` holds the figures of the machine named in it; `python -m benchmarks.speeds --out FILE` measures those of another. Training
is counted with all its epochs: early stopping may end it sooner.
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
"""What is asked for is so many times what is expected: a cluster's cores may be slower than those that were measured, or be shared, a
network may be more active than assumed, and a job that is killed at its limit has to be done again."""
LEAST_MIN = 10
"""Besides, every job gets so long for its start: imports and compilation on a file system that others use, too [min]."""


class Speeds(Section):
    """Measured costs of one core, by what they grow with."""

    machine: Annotated[str, Field(description="processor, cores, and the date of the measurement")]
    job_s: Annotated[Speed, Field(description="what snakemake itself needs for a job [s]")]
    start_s: Annotated[Speed, Field(description="start of a process with compiled code [s]")]
    start_torch_s: Annotated[Speed, Field(description="start of a process with torch [s]")]
    network_ns_per_synapse: Annotated[Speed, Field(description="drawing and writing a synapse [ns]")]
    load_ns_per_synapse: Annotated[Speed, Field(description="reading a synapse and bringing it into the order of delivery [ns]")]
    event_ns: Annotated[
        tuple[tuple[Speed, Speed], ...],
        Field(min_length=1, description="(synapses of a rank, cost of a synaptic event with STDP [ns]), increasing"),
    ]
    neuron_step_ns: Annotated[Speed, Field(description="one neuron's step of 1 ms [ns]")]
    step_us: Annotated[Speed, Field(description="what a step costs beside, where ranks exchange spikes or neurons are many [us]")]
    read_ms_per_file: Annotated[Speed, Field(description="reading a shard, however small [ms]")]
    write_ms_per_file: Annotated[Speed, Field(description="writing a shard until it is on disk, however small [ms]")]
    write_ns_per_synapse: Annotated[Speed, Field(description="weight and change of a synapse, back in the order of storage, written [ns]")]
    write_ns_per_cell: Annotated[Speed, Field(description="a neuron and millisecond of the raster, written [ns]")]
    read_ns_per_cell: Annotated[Speed, Field(description="the same, read for features [ns]")]
    replay_ns_per_event: Annotated[Speed, Field(description="STDP and causal components of a synapse, for each synaptic event [ns]")]
    dense_ns_per_pair: Annotated[Speed, Field(description="causal components of all pairs, for each spike and source [ns]")]
    autoencoder_ps_per_weight: Annotated[Speed, Field(description="training, for each weight, time step and sequence [ps]")]
    tft_batch_ms: Annotated[Speed, Field(description="training, for each batch [ms]")]
    tft_ns_per_unit: Annotated[Speed, Field(description="training, for each window, sample of it and unit of hidden_size [ns]")]
    score_ns_per_pair: Annotated[Speed, Field(description="explanation, for each pair of neurons and shuffle or bootstrap [ns]")]
    report_s: Annotated[Speed, Field(description="figures and tables [s]")]

    def reading_seconds(self, run: RunConfig) -> float:
        """Seconds for reading the raster of the whole run."""
        return 1e-9 * run.n_steps * run.n_neurons * self.read_ns_per_cell


def read_speeds(path: Path | None = None) -> Speeds:
    """Read a file of speeds; None: the one that comes with spikelens.

    Raises
    ------
    SpikelensError
        If there is no such file, or it is not one of `benchmarks.speeds`.
    """
    if path is None:
        return Speeds.model_validate_json(resources.files("spikelens").joinpath("speeds.json").read_bytes())
    if not path.is_file():
        raise SpikelensError(f"{path}: no such file; `python -m benchmarks.speeds --out {path}` measures this machine and writes it")
    try:
        return Speeds.model_validate_json(path.read_bytes())
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            problems = [f"it is no JSON ({error.errors()[0]['ctx']['error']})"]
        else:
            problems = list(map(str, problems_of(Speeds, error)))
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise SpikelensError(f"{path} holds no speeds; `python -m benchmarks.speeds --out FILE` writes such a file:\n{lines}") from None


@functools.cache
def shipped() -> Speeds:
    """The speeds that come with spikelens, read once: rules ask by them, in each job again."""
    return read_speeds()


# --- minutes to ask for -------------------------------------------------------------------------------------------------


def runtime_min(run: RunConfig, rule: Rule, speeds: Speeds | None = None) -> int:
    """Time to ask for, for one job of a rule [whole min], at most cluster.limit_min; speeds: None, those that come with spikelens."""
    wanted = LEAST_MIN + math.ceil(SAFETY * job_seconds(run, rule, speeds or shipped()) / 60)
    return wanted if run.cluster.limit_min is None else min(wanted, run.cluster.limit_min)


# --- seconds of a job ---------------------------------------------------------------------------------------------------


def job_seconds(run: RunConfig, rule: Rule, speeds: Speeds, rate_hz: float = ASSUMED_RATE_HZ) -> float:
    """Expected seconds of one job of a rule, from the start of its process to its end; of a stage's jobs the mean."""
    return float(stage_module(stage_of(rule)).seconds(run, item_of(rule), speeds, rate_hz))
