"""The typed configuration: every key, its type, its unit, its default, and what makes a configuration runnable.

`loading.py` reads `config.yaml` once, for the Snakefile or the command line. The result is one `RunConfig` per run (several with
`sweep:`), frozen and fully resolved. Each run keeps its own copy as `results/<run>/config.json`, which is what jobs
and notebooks read. Defaults live here and nowhere else; `workflow/schemas/config.schema.json` is generated from here.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from spikelens.errors import ConfigError, Problem, SpikelensError
from spikelens.names import ASSUMED_RATE_HZ as ASSUMED_RATE_HZ
from spikelens.names import MODEL_NAMES as MODEL_NAMES
from spikelens.names import STAGES as STAGES
from spikelens.names import ModelName as ModelName
from spikelens.names import Stage as Stage
from spikelens.refusals import CONNECTION_PATTERN, NAME_PATTERN, RESULTS_PATTERN, did_you_mean, problems_of
from spikelens.yaml12 import read_yaml as read_yaml

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
    """A part of the configuration: no unknown key, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


class Run(Section):
    """Where the results of this configuration stand."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, description="results go to <results>/<name>/")] = "reference"
    results: Annotated[str, Field(pattern=RESULTS_PATTERN, description="folder that holds all runs")] = "results"


class Population(Section):
    """Neurons that share Izhikevich's parameters; ids are given in the order of the populations."""

    count: Annotated[int, Field(gt=0, description="neurons")]
    a: Annotated[Finite, Field(description="recovery rate [1/ms]")]
    b: Annotated[Finite, Field(description="sensitivity of u to v [1]")]
    c: Annotated[Finite, Field(description="reset of v after a spike [mV]")]
    d: Annotated[Finite, Field(description="increment of u after a spike [mV]")]
    v0_mv: Annotated[Finite, Field(description="v at the start [mV]")] = -65.0
    u0_mv: Annotated[Finite, Field(description="u at the start [mV]")] = -13.0


def _form(of_one: str) -> Discriminator:
    """Tell a mapping, which is a distribution, from what stands for one value or range."""
    return Discriminator(lambda given: "distribution" if isinstance(given, Mapping | BaseModel) else of_one)


DistributionName = Literal["uniform", "normal", "lognormal"]
Delay = Annotated[int, Field(ge=1, le=MAX_DELAY_MS)]
WeightMv = Annotated[float, Field(gt=-MAX_WEIGHT_MV, lt=MAX_WEIGHT_MV)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
"""A mean or standard deviation [mV, ms] between bounds that no network reaches, and within which logarithms stay finite."""
DISTRIBUTION = "uniform, normal or lognormal; mean and sd are those of the values before truncation, not of their logarithms"


class WeightDistribution(Section):
    """Weights drawn for each synapse; values beyond the bounds are drawn again."""

    distribution: Annotated[DistributionName, Field(description=DISTRIBUTION)]
    mean_mv: Annotated[WeightMv | None, Field(description="mean of normal and lognormal weights [mV]; below 0: inhibitory")] = None
    sd_mv: Annotated[Scale | None, Field(description="standard deviation of normal and lognormal weights [mV]")] = None
    low_mv: Annotated[WeightMv | None, Field(description="lower bound [mV]; only a uniform distribution needs it")] = None
    high_mv: Annotated[WeightMv | None, Field(description="upper bound [mV]; only a uniform distribution needs it")] = None


class DelayDistribution(Section):
    """Delays drawn for each synapse in whole ms; values beyond the bounds are drawn again."""

    distribution: Annotated[DistributionName, Field(description=DISTRIBUTION)]
    mean_ms: Annotated[Scale | None, Field(description="mean of normal and lognormal delays [ms]")] = None
    sd_ms: Annotated[Scale | None, Field(description="standard deviation of normal and lognormal delays [ms]")] = None
    first_ms: Annotated[Delay, Field(description="shortest delay [ms]")]
    last_ms: Annotated[Delay, Field(description="longest delay [ms]")]


class Connection(Section):
    """How the synapses from one population onto another are drawn."""

    rule: Annotated[
        Literal["bernoulli", "fixed_indegree", "fixed_outdegree"],
        Field(
            description="bernoulli: every pair with probability p; fixed_indegree: in_degree distinct sources a target; "
            "fixed_outdegree: out_degree distinct targets a source"
        ),
    ] = "bernoulli"
    p: Annotated[float | None, Field(ge=0, le=1, description="probability of each synapse, for the rule bernoulli [1]")] = None
    out_degree: Annotated[
        float | None, Field(gt=0, description="targets a source: exactly (fixed_outdegree), or on average, instead of p (bernoulli)")
    ] = None
    in_degree: Annotated[int | None, Field(gt=0, description="sources a target (fixed_indegree)")] = None
    weight_mv: Annotated[
        Annotated[Finite, Tag("number")] | Annotated[WeightDistribution, Tag("distribution")],
        _form("number"),
        Field(description="weight at the start, one for all or a distribution [mV]; below 0: inhibitory"),
    ]
    delay_ms: Annotated[
        Annotated[tuple[Delay, Delay], Field(strict=False), Tag("range")] | Annotated[DelayDistribution, Tag("distribution")],
        _form("range"),
        Field(description="delay, uniform on the whole numbers from first to last, or a distribution [ms]"),
    ]
    plastic: Annotated[bool, Field(description="changed by STDP")] = False

    @property
    def delay_range(self) -> tuple[int, int]:
        """Shortest and longest delay that a synapse may have [ms]."""
        if isinstance(self.delay_ms, DelayDistribution):
            return self.delay_ms.first_ms, self.delay_ms.last_ms
        return self.delay_ms


def reference_populations() -> dict[str, Population]:
    """The populations of the reference network, in the order of their ids."""
    return {"E": Population(count=800, a=0.02, b=0.2, c=-65.0, d=8.0), "I": Population(count=200, a=0.1, b=0.2, c=-65.0, d=2.0)}


def reference_connections() -> dict[str, Connection]:
    """The connections of the reference network. Random numbers follow their order."""
    return {
        "E->E": Connection(p=0.1, weight_mv=6.0, delay_ms=(1, 20), plastic=True),
        "E->I": Connection(p=0.1, weight_mv=6.0, delay_ms=(1, 20), plastic=True),
        "I->E": Connection(p=0.125, weight_mv=-5.0, delay_ms=(1, 1)),
    }


class Network(Section):
    """The neurons and how they are wired."""

    seed: Annotated[Seed, Field(description="seed of the wiring")] = 1
    neurons: Annotated[Positive, Field(description="neurons in all; by default the sum of the populations' counts")] = 1_000
    block_size: Annotated[Positive, Field(description="neurons in a storage block; a rank owns whole blocks")] = 250
    populations: Annotated[
        dict[str, Population],
        Field(min_length=1, description="populations by name, in the order of their ids; by default E and I of the reference network"),
    ] = Field(default_factory=reference_populations)
    connections: Annotated[
        dict[Annotated[str, Field(pattern=CONNECTION_PATTERN)], Connection],
        Field(
            description="rules by which synapses are drawn; keys: source->target; by default those of the reference network, "
            "or none with an edge table"
        ),
    ] = Field(default_factory=reference_connections)
    edges: Annotated[
        str | None, Field(description="table (parquet, csv, npz) of source, target, delay_ms, weight_mv, plastic; instead of connections")
    ] = None
    weight_max_mv: Annotated[PositiveFloat, Field(lt=32_768, description="upper bound of plastic weights [mV]")] = 10.0

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """Count the neurons of the populations; an edge table replaces the default connections."""
        if not isinstance(given, Mapping):
            return given
        found: dict[str, Any] = {} if given.get("edges") is None else {"connections": {}}
        populations = given.get("populations")
        counts = [_whole(node.get("count")) if isinstance(node, Mapping) else None for node in _values(populations)]
        if counts and None not in counts:
            found["neurons"] = sum(count for count in counts if count)
        return {**found, **given}


def _values(given: Any) -> Iterable[Any]:
    """The values of a mapping; none of anything else, which pydantic refuses."""
    return given.values() if isinstance(given, Mapping) else ()


def _whole(given: Any) -> int | None:
    """A whole number above 0; None for anything else, which pydantic refuses."""
    return given if isinstance(given, int) and not isinstance(given, bool) and given > 0 else None


class PoissonInput(Section):
    """Independent Poisson trains onto the neurons of a population, as if each had many unseen sources."""

    rate_hz: Annotated[float, Field(gt=0, le=100_000, description="events a second onto each neuron [Hz]")]
    weight_mv: Annotated[Finite, Field(gt=-32_768, lt=32_768, description="what one event adds to the input [mV]")]


class Drive(Section):
    """What reaches the neurons from outside the network."""

    seed: Annotated[Seed, Field(description="seed of the kicks and of Poisson input")] = 1
    kick_mv: Annotated[Finite, Field(gt=-32_768, lt=32_768, description="each ms one of every 1,000 neurons gets this [mV]; 0: none")] = (
        20.0
    )
    poisson: Annotated[
        dict[str, PoissonInput],
        Field(description="population -> rate_hz [Hz], weight_mv [mV] of independent trains onto each of its neurons"),
    ] = Field(default_factory=dict)
    current_mv: Annotated[
        dict[str, Annotated[Finite, Field(gt=-32_768, lt=32_768, description="constant input each step [mV]")]],
        Field(description="population -> constant input each step [mV]"),
    ] = Field(default_factory=dict)
    events: Annotated[str | None, Field(description="table (parquet, csv, npz) of step, neuron, mv, added to the input exactly")] = None


NeuronId = Annotated[int, Field(ge=0, lt=2**31)]


class Record(Section):
    """What is kept of single neurons and synapses, step by step."""

    every_ms: Annotated[Positive, Field(description="values are kept every so often [ms]; divides 1,000 and simulation.chunk_ms")] = 1
    neurons: Annotated[
        tuple[NeuronId, ...], Field(max_length=MAX_RECORDED, strict=False, description="ids of neurons whose v and u are kept")
    ] = ()
    synapses: Annotated[
        tuple[Annotated[tuple[NeuronId, NeuronId], Field(strict=False)], ...],
        Field(max_length=MAX_RECORDED, strict=False, description="pairs [source, target] of ids whose synapses' weights are kept"),
    ] = ()


class Simulation(Section):
    """How long, in which segments and on how many ranks the network is simulated."""

    duration_s: Annotated[Positive, Field(description="biological time [s]")] = 180
    segment_s: Annotated[
        Positive, Field(description="biological time one job simulates [s]; by default 60 s, or the duration if that is shorter")
    ] = 60
    ranks: Annotated[Positive, Field(description="MPI ranks; results do not depend on it")] = 2
    plasticity: Annotated[bool, Field(description="STDP on plastic synapses")] = True
    weight_average: Annotated[
        bool | Literal["auto"],
        Field(description="store each weight's mean over a segment; auto: up to 10^7 expected synapses, always with an edge table"),
    ] = "auto"
    record: Record = Field(default_factory=Record)
    chunk_ms: Annotated[Positive, Field(description="time steps in a Zarr chunk [ms]; divides the segment")] = 1_000
    chunk_neurons: Annotated[Positive, Field(description="neurons in a Zarr chunk; divides network.block_size")] = 250

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """A segment is at most the duration."""
        duration_s = _whole(given.get("duration_s")) if isinstance(given, Mapping) else None
        return given if duration_s is None else {"segment_s": min(60, duration_s), **given}


class Features(Section):
    """Quantities computed from the spikes; times are the paper's T_w and tau."""

    step_ms: Annotated[Positive, Field(description="width of the bins in which spikes are counted [ms]")] = 10
    window_ms: Annotated[Positive, Field(description="T_w, the window of the running rate [ms]")] = 100
    tau_ms: Annotated[PositiveFloat, Field(description="time constant of traces and causal components [ms]")] = 20.0
    omega_window_s: Annotated[
        Positive,
        Field(description="causal components are summed over windows this long [s]; by default 20 s, or the longest part of a segment"),
    ] = 20
    omega_dense: Annotated[bool, Field(description="causal components of all pairs (delay 0), not only of synapses")] = True
    neurons: Annotated[int, Field(ge=0, description="traces are stored for about so many neurons, evenly spaced in every block")] = 20


Epochs = Annotated[Positive, Field(description="at most; early stopping may end sooner")]
BatchSize = Annotated[Positive, Field(description="sequences or windows a step of the optimiser")]
Samples = Annotated[Positive, Field(description="training windows drawn an epoch, at most")]
LearningRate = Annotated[PositiveFloat, Field(description="learning rate of Adam")]


class Training(Section):
    """What every model's training has."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False, description="one model is trained for each")] = (1,)
    epochs: Epochs
    patience: Annotated[Positive, Field(description="epochs without a better validation loss before training ends")] = 5
    batch_size: BatchSize = 64
    learning_rate: LearningRate = 0.001
    parts: Annotated[
        Positive, Field(description="parts of a batch that are computed one by one; another number is another draw of dropout and rounding")
    ] = 1
    ranks: Annotated[Positive, Field(description="MPI ranks that share the parts of a batch; results do not depend on it")] = 1


class Autoencoder(Training):
    """LSTM autoencoder on spike traces."""

    epochs: Epochs = 30
    learning_rate: LearningRate = 0.003
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False, description="weight decay of Adam, decoupled [1]")] = 1.0
    steps: Annotated[Positive, Field(description="time steps a sequence [ms]")] = 20
    units: Annotated[Positive, Field(description="size of the encoding")] = 100
    sequences: Annotated[Positive, Field(description="sequences in all, evenly spaced over the time used")] = 6_000
    neurons: Annotated[Positive, Field(description="at most so many neurons, evenly spaced")] = 1_000


class Tft(Training):
    """Temporal Fusion Transformer on running rates, sampled every features.window_ms so that no two samples share a spike."""

    history: Annotated[Positive, Field(description="t_m, past samples seen [features.window_ms]")] = 20
    horizon: Annotated[Positive, Field(description="t_h, samples predicted [features.window_ms]")] = 5
    hidden_size: Annotated[Positive, Field(description="width of the network")] = 16
    attention_heads: Annotated[Positive, Field(description="heads of the attention; divides hidden_size")] = 4
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of units left out in training [1]")] = 0.1
    samples_per_epoch: Samples = 20_000


class TftPopulation(Tft):
    """The TFT on the mean rate of the network and of each population."""

    epochs: Epochs = 30


class TftNeuron(Tft):
    """The TFT on each neuron's rate."""

    epochs: Epochs = 8
    batch_size: BatchSize = 512
    learning_rate: LearningRate = 0.003
    samples_per_epoch: Samples = 60_000
    neurons: Annotated[Positive, Field(description="at most so many neurons, evenly spaced")] = 1_000


class Models(Section):
    """The sequence models and how time is divided among training, validation and test."""

    start_s: Annotated[int, Field(ge=0, description="earlier time is left out: STDP settles [s]")] = 50
    split: Annotated[
        tuple[PositiveFloat, PositiveFloat, PositiveFloat],
        Field(strict=False, description="shares of the time for training, validation, test, in this order"),
    ] = (0.6, 0.2, 0.2)
    autoencoder: Autoencoder = Field(default_factory=Autoencoder)
    tft_population: TftPopulation = Field(default_factory=TftPopulation)
    tft_neuron: TftNeuron = Field(default_factory=TftNeuron)


class Explanation(Section):
    """What the models' attention is held against, and how sure the scores are."""

    seed: Annotated[Seed, Field(description="seed of shuffles and bootstrap")] = 1
    windows: Annotated[Positive, Field(description="test windows over which attention is recorded, evenly spaced")] = 40
    shuffles: Annotated[Positive, Field(description="permutations of labels within populations")] = 20
    bootstraps: Annotated[Positive, Field(description="resamples of targets for confidence intervals")] = 200
    strata_mv: Annotated[
        tuple[Finite, ...], Field(min_length=2, strict=False, description="edges of the classes of time-averaged weight [mV]")
    ] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 10.0)


class Report(Section):
    """What the figures show."""

    raster_s: Annotated[Positive, Field(description="the raster shows so much of the run's end [s]")] = 2
    neurons: Annotated[Positive, Field(description="single neurons shown in the figures")] = 4


class Cluster(Section):
    """What the cluster gives a job. No result depends on it, so a change makes nothing again."""

    limit_min: Annotated[Positive | None, Field(description="longest time a job may run, the partition's limit [min]; null: none")] = None
    ranks_per_node: Annotated[Positive | None, Field(description="MPI ranks of a job on one node; null: wherever there is room")] = None
    srun: Annotated[str, Field(min_length=1, description="how a job starts MPI ranks; `srun --mpi=list` says what there is")] = (
        "env MPIR_CVAR_CH4_NETMOD=ofi srun --mpi=pmi2 --kill-on-bad-exit=1"
    )
    modules: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False, description="environment modules of each job")
    ] = ()
    gpus: Annotated[bool, Field(description="a GPU for each rank of a training")] = False


class Config(Section):
    """One run's configuration, complete."""

    run: Run = Field(default_factory=Run)
    network: Network = Field(default_factory=Network)
    drive: Drive = Field(default_factory=Drive)
    simulation: Simulation = Field(default_factory=Simulation)
    features: Features = Field(default_factory=Features)
    models: Models = Field(default_factory=Models)
    explanation: Explanation = Field(default_factory=Explanation)
    report: Report = Field(default_factory=Report)
    cluster: Cluster = Field(default_factory=Cluster)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, given: Any) -> Any:
        """The windows of causal components divide a segment."""
        simulation, features = (given.get(name, {}) if isinstance(given, Mapping) else None for name in ("simulation", "features"))
        if not isinstance(simulation, Mapping) or not isinstance(features, Mapping):
            return given
        segment_s = _whole(simulation.get("segment_s", min(60, _whole(simulation.get("duration_s")) or 60)))
        return {**given, "features": {"omega_window_s": math.gcd(20, segment_s or 20), **features}}


FOLLOWING = ("network.neurons", "network.connections", "simulation.segment_s", "features.omega_window_s")
"""Keys whose default follows from other keys."""


class ConfigFile(Config):
    """What may stand in config.yaml: one run's configuration, another file that it builds on, and a sweep over any of its keys."""

    base: Annotated[
        str | None,
        Field(min_length=1, description="configuration file that this one builds on, relative to this one; this one's keys count"),
    ] = None
    sweep: Annotated[
        dict[str, Annotated[list[Scalar | list[Scalar]], Field(min_length=1)]],
        Field(description="key (dotted) -> values; each combination is a run of its own"),
    ] = Field(default_factory=dict)


class RunConfig(Config):
    """A `Config` with its place on disk and the sizes that follow from it.

    Blocks are ranges of `block_size` neurons, segments ranges of `segment_s`; the last of either may be short. All ranges
    are half-open, times in steps of 1 ms from the run's start.
    """

    path: str
    """The run's folder, `results/<name>` or `results/<name>/<key>=<value>`."""

    @property
    def folder(self) -> Path:
        return Path(self.path)

    @property
    def n_steps(self) -> int:
        return self.simulation.duration_s * STEPS_PER_SECOND

    @property
    def segment_steps(self) -> int:
        return self.simulation.segment_s * STEPS_PER_SECOND

    @property
    def n_segments(self) -> int:
        return -(-self.n_steps // self.segment_steps)

    @property
    def n_blocks(self) -> int:
        return -(-self.network.neurons // self.network.block_size)

    def block_range(self, block: int) -> tuple[int, int]:
        """First neuron of a block, and one past its last."""
        size = self.network.block_size
        return block * size, min((block + 1) * size, self.network.neurons)

    def segment_range(self, segment: int) -> tuple[int, int]:
        """First step of a segment, and one past its last."""
        return segment * self.segment_steps, min((segment + 1) * self.segment_steps, self.n_steps)

    @property
    def populations(self) -> dict[str, tuple[int, int]]:
        """Range of neuron ids of each population."""
        ranges, start = {}, 0
        for name, population in self.network.populations.items():
            ranges[name] = (start, start + population.count)
            start += population.count
        return ranges

    @property
    def edge_classes(self) -> list[str]:
        """Every ordered pair of populations that a connection joins, as "source->target"; with an edge table, all pairs."""
        if self.network.edges is None:
            return list(self.network.connections)
        return [f"{source}->{target}" for source in self.network.populations for target in self.network.populations]

    @property
    def weight_average(self) -> bool:
        """Whether each synapse's mean weight over a segment is stored."""
        if self.simulation.weight_average == "auto":
            return expected_synapses(self.network) <= MAX_AVERAGED_SYNAPSES
        return self.simulation.weight_average

    @property
    def records(self) -> bool:
        """Whether anything of single neurons or synapses is kept."""
        return bool(self.simulation.record.neurons or self.simulation.record.synapses)

    def time_ranges(self, gap_ms: int) -> dict[str, tuple[int, int]]:
        """Divide the time after models.start_s into training, validation and test [ms], in this order, `gap_ms` apart.

        Half of each gap is taken from either neighbour; the ranges are half-open.
        """
        start, end = self.models.start_s * STEPS_PER_SECOND, self.n_steps
        train, validation, _ = self.models.split
        first = start + round(train * (end - start))
        second = start + round((train + validation) * (end - start))
        half = -(-gap_ms // 2)
        return {"train": (start, first - half), "validation": (first + half, second - half), "test": (second + half, end)}

    def tft_windows(self, model: Tft) -> dict[str, tuple[int, int]]:
        """Ranges of a TFT's samples, each one features.window_ms long and inside its range [samples from the run's start].

        The gap is history + horizon + 1 samples, so that no two ranges share a spike, even through a rate's window.
        """
        window = self.features.window_ms
        ranges = self.time_ranges((model.history + model.horizon + 1) * window)
        return {name: (-(-start // window), end // window) for name, (start, end) in ranges.items()}

    def autoencoder_ranges(self) -> dict[str, tuple[int, int]]:
        """Ranges of the autoencoder's sequences [ms]; the gap holds a sequence and the reach of a trace, so no two share a spike."""
        return self.time_ranges(self.models.autoencoder.steps + self.causal_cutoff_steps)

    @property
    def causal_cutoff_steps(self) -> int:
        """Steps after which an exponential kernel is zero by definition."""
        return int(CAUSAL_CUTOFF_TAUS * self.features.tau_ms)


def connection_probability(network: Network, key: str) -> float:
    """Probability of a synapse for each pair of a connection with p or out_degree."""
    connection = network.connections[key]
    if connection.p is not None:
        return connection.p
    assert connection.out_degree is not None
    return connection.out_degree / network.populations[key.split("->")[1]].count


def expected_in_degree(network: Network, key: str) -> float:
    """Number of synapses to expect onto each target of a connection."""
    return network.connections[key].in_degree or connection_probability(network, key) * network.populations[key.split("->")[0]].count


def expected_synapses(network: Network) -> float:
    """Number of synapses to expect from the connection rules; 0 for an edge table, whose length is not known here."""
    return sum(expected_in_degree(network, key) * network.populations[key.split("->")[1]].count for key in network.connections)


def weight_bounds_mv(network: Network, weight: WeightDistribution, plastic: bool) -> tuple[float, float]:
    """Bounds of a distribution of weights [mV]: its own, else those of plastic weights, else 0 on one side, so that the sign is kept."""
    largest = network.weight_max_mv if plastic else MAX_WEIGHT_MV - 1.0
    inhibitory = not plastic and weight.mean_mv is not None and weight.mean_mv < 0
    low, high = (-largest, 0.0) if inhibitory else (0.0, largest)
    return (low if weight.low_mv is None else weight.low_mv), (high if weight.high_mv is None else weight.high_mv)


def log_parameters(mean: float, sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the logarithm of a lognormal variable that has this mean (above 0) and standard deviation."""
    ratio = sd / mean
    variance = math.log1p(ratio * ratio)
    return math.log(mean) - variance / 2, math.sqrt(variance)


def share_within(distribution: DistributionName, mean: float, sd: float, low: float, high: float) -> float:
    """Share of a normal or lognormal distribution that lies within its bounds; a lognormal with a mean below 0 is mirrored."""
    if distribution == "normal":
        normal = NormalDist(mean, sd)
        return normal.cdf(high) - normal.cdf(low)
    low, high = (low, high) if mean > 0 else (-high, -low)
    normal = NormalDist(*log_parameters(abs(mean), sd))
    share = (normal.cdf(math.log(high)) if high > 0 else 0.0) - (normal.cdf(math.log(low)) if low > 0 else 0.0)
    return 0.0 if math.isnan(share) else share  # where mean and standard deviation are too far apart for numbers


# --- loading -----------------------------------------------------------------------------------------------------------


def load_runs(content: Mapping[str, Any], source: str = "the configuration") -> list[RunConfig]:
    """Turn the content of a configuration file into its runs, one for each combination of the sweep's values.

    Raises
    ------
    ConfigError
        With every problem found: key, value, what was expected.
    """
    file = parse(ConfigFile, content, source)
    if file.base is not None:
        raise ConfigError(source, [Problem("base", file.base, "expected in a configuration file only")])
    n_runs = math.prod(map(len, file.sweep.values()))
    if n_runs > MAX_RUNS:
        raise ConfigError(source, [Problem("sweep", n_runs, f"expected at most {MAX_RUNS:,} runs; take fewer values")])
    base = file.model_dump(mode="json", exclude={"base", "sweep"})
    base["run"]["results"] = _home_expanded(file.run.results, source)
    # as they were given: of a text, `problems_of` tells whether it is one of --config's
    sweep = {key: content["sweep"][key] for key in file.sweep}
    problems: dict[str, Problem] = {}
    runs = []
    for combination in itertools.product(*([(key, value) for value in values] for key, values in sweep.items())):
        resolved = json.loads(json.dumps(base))
        for key, value in combination:
            _set_key(resolved, key, value, source)
        _forget_following(resolved, content, sweep)
        name = ",".join(f"{key}={_path_part(key, value, source)}" for key, value in combination)
        resolved["path"] = str(Path(base["run"]["results"], file.run.name, name))
        run = parse(RunConfig, resolved, f"{source} (sweep {name})" if name else source)
        problems |= {str(problem): problem for problem in check(run)}
        runs.append(run)
    twice = sorted(path for path, n in Counter(run.path for run in runs).items() if n > 1)
    found = [*problems.values(), *(Problem("sweep", Path(path).name, "expected each value once; two give this folder") for path in twice)]
    if found:
        raise ConfigError(source, found)
    return runs


def _home_expanded(results: str, source: str) -> str:
    """The folder of results with ~ and ~user replaced by the home that they stand for."""
    expanded = os.path.expanduser(results)
    if expanded.startswith("~"):
        raise ConfigError(source, [Problem("run.results", results, "no such user has a home here; write the path out")])
    if str(Path(expanded)).startswith("-"):
        raise ConfigError(
            source, [Problem("run.results", results, "expected no '-' at the beginning: commands would take it for an option")]
        )
    return expanded


def load_run(folder: str | Path) -> RunConfig:
    """Read the configuration that a run keeps in its folder, `results/<run>/config.json`."""
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise SpikelensError(f"{folder} is no run: it has no config.json; expected a folder like results/reference")
    return load_config(path, folder)


def load_config(path: Path, folder: str | Path) -> RunConfig:
    """Read a configuration that is kept as JSON, as that of a run in `folder`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpikelensError(f"{path} is damaged ({error}); run snakemake, which writes it again") from None
    run = parse(RunConfig, content, str(path))
    return run.model_copy(update={"path": str(folder)})


def json_schema() -> dict[str, Any]:
    """The JSON schema of config.yaml, as kept in workflow/schemas/."""
    return ConfigFile.model_json_schema()


ConfigType = TypeVar("ConfigType", bound=Config)


def parse(kind: type[ConfigType], content: Mapping[str, Any], source: str) -> ConfigType:
    """Validate against the types, turning pydantic's findings into `Problem`s."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ConfigError(source, problems_of(kind, error)) from None


def _set_key(content: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set a dotted key of a resolved configuration; it must already stand there."""
    *parents, last = key.split(".")
    node: Any = content
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or isinstance(node[last], dict) or parents[:1] == ["run"]:
        known = [name for name in _dotted_keys(content) if not name.startswith("run.")]
        raise ConfigError(
            source,
            [Problem(f"sweep.{key}", value, f"no such key to sweep over; {did_you_mean(key, known, 'expected one like network.seed')}")],
        )
    node[last] = value


def _forget_following(resolved: dict[str, Any], given: Mapping[str, Any], sweep: Iterable[str]) -> None:
    """Remove defaults that follow from other keys: each run of a sweep has its own."""
    for key in FOLLOWING:
        section, name = key.split(".")
        if name not in given.get(section, {}) and not any(swept == key or swept.startswith(f"{key}.") for swept in sweep):
            del resolved[section][name]


def _dotted_keys(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _dotted_keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _path_part(key: str, value: Any, source: str) -> str:
    """The part of a folder's name that a value gives: a list is joined by '-', a slash of a path becomes '_'."""
    parts = value if isinstance(value, list) else [value]
    text = "-".join("null" if part is None else str(part) for part in parts).replace("/", "_")
    if not re.fullmatch(r"[A-Za-z0-9._+-]+", text):
        raise ConfigError(
            source, [Problem(f"sweep.{key}", value, "expected values of letters, digits, '.', '_', '+', '-' and '/': they name folders")]
        )
    return text


# --- what types cannot say ----------------------------------------------------------------------------------------------


def check(run: RunConfig) -> Iterator[Problem]:
    """Yield every reason why a well-typed configuration cannot be run."""
    faults = list(_check_network(run.network))
    yield from faults
    yield from _check_drive(run)
    yield from _check_simulation(run)
    yield from _check_record(run)
    if not faults:  # whether averages are kept is told by the expected synapses
        yield from _check_shard_numbers(run)
    yield from _check_features(run)
    yield from _check_models(run)
    yield from _check_files(run)
    strata = run.explanation.strata_mv
    if list(strata) != sorted(set(strata)):
        yield Problem("explanation.strata_mv", strata, "expected increasing weights [mV], each once")
    if run.report.raster_s > run.simulation.duration_s:
        yield Problem("report.raster_s", run.report.raster_s, f"expected at most simulation.duration_s = {run.simulation.duration_s}")


def _check_network(network: Network) -> Iterator[Problem]:
    total = sum(population.count for population in network.populations.values())
    if total != network.neurons:
        yield Problem("network.neurons", network.neurons, f"the populations' counts add up to {total}; make the two agree")
    for name in network.populations:
        if not re.fullmatch(r"\w+", name) or name == "all":
            yield Problem(f"network.populations.{name}", name, "expected a name of letters, digits and underscores, and not 'all'")
    if network.edges is not None and network.connections:
        yield Problem("network.edges", network.edges, "an edge table replaces network.connections; set connections: {}")
    if network.edges is not None and network.neurons > MAX_TABLE_NEURONS:
        yield Problem("network.edges", network.edges, f"expected at most {MAX_TABLE_NEURONS:,} neurons with an edge table")
    if network.edges is None and not network.connections:
        yield Problem("network.connections", {}, "expected connection rules, or a table in network.edges")
    if len(network.connections) > MAX_CONNECTIONS:
        yield Problem("network.connections", len(network.connections), f"expected at most {MAX_CONNECTIONS:,} connections")
    for key, connection in network.connections.items():
        where = f"network.connections.{key}"
        unknown = [name for name in key.split("->") if name not in network.populations]
        if unknown:
            yield Problem(where, unknown[0], f"no such population; known: {', '.join(network.populations)}")
            continue
        yield from _check_connection(network, key, connection, where)


def _check_connection(network: Network, key: str, connection: Connection, where: str) -> Iterator[Problem]:
    yield from _check_degree(network, key, connection, where)
    if isinstance(connection.weight_mv, WeightDistribution):
        yield from _check_weights(network, connection.weight_mv, connection.plastic, f"{where}.weight_mv")
    else:
        yield from _check_weight(network, connection.weight_mv, connection.plastic, f"{where}.weight_mv")
    first, last = connection.delay_range
    if first > last:
        yield Problem(f"{where}.delay_ms", [first, last], "expected [first, last] with first <= last")
    elif isinstance(connection.delay_ms, DelayDistribution):
        delay = connection.delay_ms
        # a delay of 1 ms stands for 0.5 .. 1.5 ms
        bounds = first - 0.5, last + 0.5
        yield from _check_distribution(delay.distribution, delay.mean_ms, delay.sd_ms, bounds, f"{where}.delay_ms", "ms")


def _check_degree(network: Network, key: str, connection: Connection, where: str) -> Iterator[Problem]:
    """The rule's own keys: which are given, and whether there are so many sources or targets."""
    sources, targets = (network.populations[name].count for name in key.split("->"))
    itself = len(set(key.split("->"))) == 1  # a neuron never connects to itself
    given = {name for name in ("p", "out_degree", "in_degree") if getattr(connection, name) is not None}
    if connection.rule == "bernoulli":
        if given not in ({"p"}, {"out_degree"}):
            yield Problem(where, sorted(given), "the rule bernoulli takes exactly one of p and out_degree")
        elif connection.out_degree is not None and connection.out_degree > targets:
            yield Problem(f"{where}.out_degree", connection.out_degree, f"expected at most the {targets} targets")
        return
    name = "in_degree" if connection.rule == "fixed_indegree" else "out_degree"
    degree = getattr(connection, name)
    if given != {name}:
        yield Problem(where, sorted(given), f"the rule {connection.rule} takes {name} and nothing else")
    elif degree != int(degree):
        yield Problem(f"{where}.{name}", degree, f"the rule {connection.rule} takes a whole number")
    elif name == "in_degree" and degree > sources - itself:
        yield Problem(f"{where}.{name}", degree, f"expected at most the {sources - itself} sources that a target has")
    elif name == "out_degree" and degree > targets - itself:
        yield Problem(f"{where}.{name}", degree, f"expected at most the {targets - itself} targets that a source has")


def _check_weight(network: Network, weight_mv: float, plastic: bool, where: str) -> Iterator[Problem]:
    if plastic and not 0 <= weight_mv <= network.weight_max_mv:
        yield Problem(where, weight_mv, f"a plastic weight lies in 0 .. network.weight_max_mv = {network.weight_max_mv}")
    if abs(weight_mv) >= MAX_WEIGHT_MV:
        yield Problem(where, weight_mv, f"expected less than {MAX_WEIGHT_MV:,} mV: weights are 32-bit integers")


def _check_weights(network: Network, weight: WeightDistribution, plastic: bool, where: str) -> Iterator[Problem]:
    bounds = weight_bounds_mv(network, weight, plastic)
    if weight.distribution == "uniform" and None in (weight.low_mv, weight.high_mv):
        yield Problem(where, weight.distribution, "a uniform distribution needs low_mv and high_mv")
        return
    if weight.distribution != "uniform" and weight.mean_mv == 0:
        yield Problem(f"{where}.mean_mv", weight.mean_mv, "expected more or less than 0: the mean tells the sign of all")
        return
    faults = [
        *_check_weight(network, bounds[0], plastic, f"{where}.low_mv"),
        *_check_weight(network, bounds[1], plastic, f"{where}.high_mv"),
    ]
    if bounds[0] > bounds[1]:
        faults.append(Problem(where, bounds, "expected low_mv <= high_mv"))
    elif bounds[0] < 0 < bounds[1]:
        faults.append(Problem(where, bounds, "expected low_mv and high_mv of one sign: a connection is excitatory or inhibitory"))
    yield from faults
    if not faults:
        yield from _check_distribution(weight.distribution, weight.mean_mv, weight.sd_mv, bounds, where, "mv")


def _check_distribution(
    distribution: DistributionName, mean: float | None, sd: float | None, bounds: tuple[float, float], where: str, unit: str
) -> Iterator[Problem]:
    """That mean and standard deviation stand where they are needed, and nowhere else, and enough values lie within the bounds."""
    given = [f"{name}_{unit}" for name, value in (("mean", mean), ("sd", sd)) if value is not None]
    if distribution == "uniform":
        if given:
            yield Problem(where, given, "a uniform distribution has bounds and nothing else")
        return
    if mean is None or sd is None:
        yield Problem(where, given, f"a {distribution} distribution needs mean_{unit} and sd_{unit}")
        return
    share = share_within(distribution, mean, sd, *bounds)
    if share < MIN_SHARE_WITHIN:
        yield Problem(
            f"{where}.mean_{unit}",
            mean,
            f"only {100 * share:.2g} % of this distribution lie within its bounds, {bounds[0]:g} .. {bounds[1]:g}; expected at least "
            f"{100 * MIN_SHARE_WITHIN:g} %",
        )


def _check_drive(run: RunConfig) -> Iterator[Problem]:
    for key, inputs in (("poisson", run.drive.poisson), ("current_mv", run.drive.current_mv)):
        for name in inputs:
            if name not in run.network.populations:
                yield Problem(f"drive.{key}", name, f"no such population; known: {', '.join(run.network.populations)}")


def _check_simulation(run: RunConfig) -> Iterator[Problem]:
    simulation, network = run.simulation, run.network
    if simulation.segment_s > simulation.duration_s:
        yield Problem("simulation.segment_s", simulation.segment_s, f"expected at most simulation.duration_s = {simulation.duration_s}")
    if simulation.ranks > run.n_blocks:
        yield Problem(
            "simulation.ranks",
            simulation.ranks,
            f"a rank owns whole blocks, and there are {run.n_blocks}; take fewer ranks or a smaller network.block_size",
        )
    if run.segment_steps % simulation.chunk_ms:
        yield Problem("simulation.chunk_ms", simulation.chunk_ms, f"expected a divisor of the segment, {run.segment_steps} ms")
    if network.block_size % simulation.chunk_neurons:
        yield Problem(
            "simulation.chunk_neurons", simulation.chunk_neurons, f"expected a divisor of network.block_size = {network.block_size}"
        )
    if run.segment_steps * network.block_size > MAX_SHARD_BYTES:
        yield Problem(
            "network.block_size",
            network.block_size,
            f"segment x block is over {MAX_SHARD_BYTES // 2**20} MB; take smaller blocks or a smaller simulation.segment_s",
        )


def _check_record(run: RunConfig) -> Iterator[Problem]:
    record, where = run.simulation.record, "simulation.record"
    if math.gcd(STEPS_PER_SECOND, run.simulation.chunk_ms) % record.every_ms:
        yield Problem(
            f"{where}.every_ms",
            record.every_ms,
            f"expected a divisor of {STEPS_PER_SECOND:,} and of simulation.chunk_ms = {run.simulation.chunk_ms}",
        )
    chosen: tuple[tuple[str, tuple[int | tuple[int, int], ...]], ...] = (("neurons", record.neurons), ("synapses", record.synapses))
    for key, items in chosen:
        for item in items:
            if max(item if isinstance(item, tuple) else (item,)) >= run.network.neurons:
                yield Problem(f"{where}.{key}", item, f"expected ids of neurons, 0 .. {run.network.neurons - 1}")
                break
        twice = next((item for item, n in Counter(items).items() if n > 1), None)
        if twice is not None:
            yield Problem(f"{where}.{key}", twice, "expected each once")
        if 4 * len(items) * run.segment_steps // record.every_ms > MAX_SHARD_BYTES:
            yield Problem(
                f"{where}.{key}",
                len(items),
                f"their values over a segment are over {MAX_SHARD_BYTES // 2**20} MB; take fewer, a larger every_ms or a smaller "
                "simulation.segment_s",
            )


def record_shards(run: RunConfig) -> int:
    """Shards of recorded values that the simulation writes for each segment: v and u, and weights."""
    return 2 * bool(run.simulation.record.neurons) + bool(run.simulation.record.synapses)


def shards_per_block(run: RunConfig) -> dict[Stage, int]:
    """Shards that a stage writes for a block (simulation and features: for each segment): the arrays that stores.py lays out."""
    features = run.features
    return {"network": 8, "simulation": 8 + run.weight_average, "features": 4 + features.omega_dense + (features.neurons > 0)}


def _check_shard_numbers(run: RunConfig) -> Iterator[Problem]:
    """Files are counted with the stamps: one a block, one a segment, and one a segment and block."""
    shards = shards_per_block(run)
    a_segment = run.n_blocks * shards["simulation"] + record_shards(run) + 1
    if a_segment > MAX_SHARDS_PER_JOB:
        yield Problem(
            "network.block_size",
            run.network.block_size,
            f"the job of a segment would write {a_segment:,} files, over {MAX_SHARDS_PER_JOB:,}; take larger blocks",
        )
    in_all = run.n_blocks * (shards["network"] + 1) + run.n_segments * (a_segment + run.n_blocks * (shards["features"] + 1))
    if in_all > MAX_SHARDS_PER_RUN:
        yield Problem(
            "simulation.segment_s",
            run.simulation.segment_s,
            f"the run would write {in_all:,} files, over {MAX_SHARDS_PER_RUN:,}; take longer segments or larger blocks",
        )


def _check_features(run: RunConfig) -> Iterator[Problem]:
    features = run.features
    if features.window_ms % features.step_ms:
        yield Problem("features.step_ms", features.step_ms, f"expected a divisor of features.window_ms = {features.window_ms}")
    if run.simulation.chunk_ms % features.step_ms:
        yield Problem("features.step_ms", features.step_ms, f"expected a divisor of simulation.chunk_ms = {run.simulation.chunk_ms}")
    if run.n_steps % features.step_ms:
        yield Problem("features.step_ms", features.step_ms, f"expected a divisor of the duration, {run.n_steps} ms")
    if features.window_ms > run.segment_steps or features.window_ms > 60_000:
        yield Problem("features.window_ms", features.window_ms, "expected at most a segment, and at most 60 s")
    longest_delay = max((connection.delay_range[1] for connection in run.network.connections.values()), default=MAX_DELAY_MS)
    if CAUSAL_CUTOFF_TAUS * features.tau_ms + longest_delay > run.segment_steps:
        yield Problem(
            "features.tau_ms",
            features.tau_ms,
            f"{CAUSAL_CUTOFF_TAUS} tau and the longest delay, {longest_delay} ms, must fit in a segment, {run.segment_steps} ms",
        )
    if run.simulation.segment_s % features.omega_window_s:
        yield Problem(
            "features.omega_window_s", features.omega_window_s, f"expected a divisor of simulation.segment_s = {run.simulation.segment_s}"
        )
    if features.omega_dense and run.network.neurons > MAX_DENSE_NEURONS:
        yield Problem(
            "features.omega_dense", True, f"all pairs are kept only up to {MAX_DENSE_NEURONS} neurons; set it to false for larger networks"
        )
    yield from _check_feature_shards(run)


def _check_feature_shards(run: RunConfig) -> Iterator[Problem]:
    features, block_size, limit = run.features, run.network.block_size, f"{MAX_SHARD_BYTES // 2**20} MB"
    traced = min(-(-features.neurons // run.n_blocks), block_size)
    if 4 * run.segment_steps * traced > MAX_SHARD_BYTES:
        yield Problem(
            "features.neurons",
            features.neurons,
            f"a block's traces over a segment are over {limit}; take fewer, or a smaller simulation.segment_s",
        )
    n_windows = -(-run.simulation.segment_s // features.omega_window_s)
    if features.omega_dense and 4 * n_windows * run.network.neurons * block_size > MAX_SHARD_BYTES:
        yield Problem(
            "features.omega_window_s",
            features.omega_window_s,
            f"all pairs of a block over a segment are over {limit}; take longer windows, smaller blocks, or omega_dense: false",
        )


def _check_models(run: RunConfig) -> Iterator[Problem]:
    models = run.models
    if abs(sum(models.split) - 1) > 1e-9:
        yield Problem("models.split", models.split, "expected three shares that add up to 1")
    if models.start_s >= run.simulation.duration_s:
        yield Problem("models.start_s", models.start_s, f"expected less than simulation.duration_s = {run.simulation.duration_s}")
        return
    for name, model in (("tft_population", models.tft_population), ("tft_neuron", models.tft_neuron)):
        if model.hidden_size % model.attention_heads:
            yield Problem(
                f"models.{name}.attention_heads", model.attention_heads, f"expected a divisor of hidden_size = {model.hidden_size}"
            )
        shortest = min(end - start for start, end in run.tft_windows(model).values())
        if shortest < model.history + 2 * model.horizon:
            yield Problem(
                f"models.{name}.history",
                model.history,
                f"the shortest of training, validation and test has {max(shortest, 0)} samples of {run.features.window_ms} ms, and needs "
                f"history + 2 horizon = {model.history + 2 * model.horizon}; simulate longer, start earlier, or take a shorter history",
            )
    for name in MODEL_NAMES:
        training: Training = getattr(models, name)
        if len(set(training.seeds)) < len(training.seeds):
            yield Problem(f"models.{name}.seeds", training.seeds, "expected each seed once")
        if training.ranks > training.parts:
            yield Problem(
                f"models.{name}.ranks",
                training.ranks,
                f"ranks share the parts of a batch: expected at most parts = {training.parts}; set that, too",
            )
        if training.parts > training.batch_size:
            yield Problem(f"models.{name}.parts", training.parts, f"expected at most batch_size = {training.batch_size}")
    autoencoder = models.autoencoder
    available = run.n_steps - models.start_s * STEPS_PER_SECOND
    if autoencoder.steps * autoencoder.sequences > available:
        yield Problem(
            "models.autoencoder.sequences",
            autoencoder.sequences,
            f"sequences do not overlap: at most {available // autoencoder.steps} of {autoencoder.steps} ms fit after models.start_s",
        )
    elif autoencoder.sequences < 20:
        yield Problem("models.autoencoder.sequences", autoencoder.sequences, "expected at least 20")
    elif CAUSAL_CUTOFF_TAUS * run.features.tau_ms <= run.segment_steps:  # else that has been told
        yield from check_sequences(run)


def check_sequences(run: RunConfig) -> Iterator[Problem]:
    """Each of the autoencoder's ranges must hold a sequence, or training would refuse it after the simulation."""
    steps, gap_ms = run.models.autoencoder.steps, run.models.autoencoder.steps + run.causal_cutoff_steps
    for (name, (begin, end)), share in zip(run.autoencoder_ranges().items(), run.models.split, strict=True):
        if not _count_sequences(run, begin, end):
            yield Problem(
                "features.tau_ms",
                run.features.tau_ms,
                f"the autoencoder's {name} range, {share:g} of the {run.n_steps - run.models.start_s * STEPS_PER_SECOND:,} ms from "
                f"models.start_s on, less its part of the gaps of {CAUSAL_CUTOFF_TAUS} tau_ms + models.autoencoder.steps = {gap_ms:,} ms, "
                f"has {max(end - begin, 0):,} ms and none of the sequences of {steps} ms; expected at least one: simulate longer, start "
                "earlier, take a smaller tau_ms or more sequences, or raise its share in models.split",
            )


def _count_sequences(run: RunConfig, begin: int, end: int) -> int:
    """Number of the autoencoder's sequences, which are evenly spaced after models.start_s, that lie in a range [ms]."""
    model, start = run.models.autoencoder, run.models.start_s * STEPS_PER_SECOND
    duration = run.n_steps - start
    in_all = min(model.sequences, duration)
    # sequence i starts at start + floor(i duration / in_all)
    first, stop = (-(-(step - start) * in_all // duration) for step in (begin, end - model.steps + 1))
    return max(min(stop, in_all) - max(first, 0), 0)


def _check_files(run: RunConfig) -> Iterator[Problem]:
    for key, path in (("network.edges", run.network.edges), ("drive.events", run.drive.events)):
        if path is None:
            continue
        if Path(path).suffix not in (".parquet", ".csv", ".npz"):
            yield Problem(key, path, "expected a table that ends in .parquet, .csv or .npz")
        elif not Path(path).is_file():
            yield Problem(key, path, "no such file; the path is taken from the working folder")
