"""The whole configuration: as in config.yaml, and as a run with its folder and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, PrivateAttr

from spikelens.config.cluster import Cluster
from spikelens.config.drive import Drive
from spikelens.config.explanation import Explanation
from spikelens.config.extensions import read_record
from spikelens.config.features import REFERENCE as FEATURES
from spikelens.config.features import Features
from spikelens.config.items import Item
from spikelens.config.models import REFERENCE as MODELS
from spikelens.config.models import Models, Training
from spikelens.config.network import Network, expected_synapses
from spikelens.config.recording import Recording
from spikelens.config.report import Report
from spikelens.config.simulation import Simulation
from spikelens.config.types import MAX_AVERAGED_SYNAPSES, MAX_DELAY_MS, STEPS_PER_SECOND, Scalar, Section
from spikelens.explanation.method import Method
from spikelens.features.feature import Feature
from spikelens.names import STAGES, Stage
from spikelens.refusals import NAME_PATTERN, RESULTS_PATTERN


class Run(Section):
    """Name of the run and folder of its results."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, description="results go to <results>/<name>/")] = "reference"
    results: Annotated[str, Field(pattern=RESULTS_PATTERN, description="folder that holds all runs")] = "results"


class Config(Section):
    """The complete configuration of one run."""

    model_config = ConfigDict(defer_build=True)  # kinds of items import sections of the configuration

    run: Run = Field(default_factory=Run)
    extensions: Annotated[
        tuple[str, ...],
        Field(strict=False, description="Python files that add kinds of features, models or methods, relative to this file"),
    ] = ()
    recording: Annotated[
        Recording | None, Field(description="spikes from a file; network, drive and simulation are then not used; null: simulate")
    ] = None
    network: Network = Field(default_factory=Network)
    drive: Drive = Field(default_factory=Drive)
    simulation: Simulation = Field(default_factory=Simulation)
    features: Features = Field(default_factory=lambda: FEATURES)  # type: ignore[arg-type]
    training: Training = Field(default_factory=Training)
    models: Models = Field(default_factory=lambda: MODELS)  # type: ignore[arg-type]
    explanation: Explanation = Field(default_factory=Explanation)
    report: Report = Field(default_factory=Report)
    cluster: Cluster = Field(default_factory=Cluster)


FOLLOWING = ("network.neurons", "network.connections", "simulation.segment_s", "recording.segment_s", "recording.chunk_neurons")
"""Keys whose default depends on other keys."""


class ConfigFile(Config):
    """Content of config.yaml: the configuration of one run, an optional base file, and an optional sweep over its keys."""

    base: Annotated[
        str | None,
        Field(min_length=1, description="configuration file to build on, relative to this one, which overrides it"),
    ] = None
    sweep: Annotated[
        dict[str, Annotated[list[Scalar | list[Scalar]], Field(min_length=1)]],
        Field(description="dotted key -> values; each combination is one run"),
    ] = Field(default_factory=dict)


class RunConfig(Config):
    """A `Config` with its folder and the sizes derived from it.

    Blocks are ranges of `block_size` neurons, segments ranges of `segment_s`; the last of either may be short. All ranges
    are half-open, times in steps of 1 ms from the run's start.
    """

    path: str
    """The run's folder, `results/<name>` or `results/<name>/<key>=<value>`."""
    _record: Path | None = PrivateAttr(None)

    @property
    def record(self) -> dict[str, Any] | None:
        """What the run computes, as recorded by `prepare`; None if it has no extensions or they were executed (`config.extensions`)."""
        return None if self._record is None else read_record(self._record)

    def recorded(self, record: Path) -> RunConfig:
        """The same run; its keys, jobs and files are those in a record."""
        run = self.model_copy()
        run._record = record
        return run

    @property
    def folder(self) -> Path:
        return Path(self.path)

    # --- spikes: how many neurons, for how long, and how both are divided among jobs

    @property
    def has_network(self) -> bool:
        """Whether the spikes are those of a simulated network, whose wiring is known."""
        return self.recording is None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of this run."""
        unused = ("recording",) if self.recording is None else ("network", "simulation")
        return tuple(stage for stage in STAGES if stage not in unused)

    @property
    def spikes_stage(self) -> Stage:
        """The stage that produces the spikes."""
        return "simulation" if self.recording is None else "recording"

    @property
    def _spikes(self) -> Simulation | Recording:
        """The section with the duration, segments and chunks of the spikes."""
        return self.simulation if self.recording is None else self.recording

    @property
    def _neurons(self) -> Network | Recording:
        """The section with the number of neurons and the block size."""
        return self.network if self.recording is None else self.recording

    @property
    def n_neurons(self) -> int:
        return self._neurons.neurons

    @property
    def block_size(self) -> int:
        """Neurons in a storage block."""
        return self._neurons.block_size

    @property
    def duration_s(self) -> int:
        return self._spikes.duration_s

    @property
    def segment_s(self) -> int:
        return self._spikes.segment_s

    @property
    def segment_s_key(self) -> str:
        """The key that gives the length of a segment."""
        return f"{self.spikes_stage}.segment_s"

    @property
    def chunk_ms(self) -> int:
        """Time in a Zarr chunk [ms]."""
        return self._spikes.chunk_ms

    @property
    def chunk_ms_key(self) -> str:
        """The key that gives the time in a Zarr chunk."""
        return f"{self.spikes_stage}.chunk_ms"

    @property
    def chunk_neurons(self) -> int:
        """Neurons in a Zarr chunk."""
        return self._spikes.chunk_neurons

    @property
    def n_steps(self) -> int:
        return self.duration_s * STEPS_PER_SECOND

    @property
    def segment_steps(self) -> int:
        return self.segment_s * STEPS_PER_SECOND

    @property
    def n_segments(self) -> int:
        return -(-self.n_steps // self.segment_steps)

    @property
    def n_blocks(self) -> int:
        return -(-self.n_neurons // self.block_size)

    def block_range(self, block: int) -> tuple[int, int]:
        """First neuron of a block, and one past its last."""
        return block * self.block_size, min((block + 1) * self.block_size, self.n_neurons)

    def segment_range(self, segment: int) -> tuple[int, int]:
        """First step of a segment, and one past its last."""
        return segment * self.segment_steps, min((segment + 1) * self.segment_steps, self.n_steps)

    @property
    def population_sizes(self) -> dict[str, int]:
        """Number of neurons of each population."""
        if self.recording is not None:
            return self.recording.populations
        return {name: population.count for name, population in self.network.populations.items()}

    @property
    def populations(self) -> dict[str, tuple[int, int]]:
        """Range of neuron ids of each population."""
        ranges, start = {}, 0
        for name, count in self.population_sizes.items():
            ranges[name] = (start, start + count)
            start += count
        return ranges

    # --- the network

    @property
    def edge_classes(self) -> list[str]:
        """Every ordered pair of populations that a connection joins, as "source->target"; without connection rules, all pairs."""
        if self.has_network and self.network.connections:
            return list(self.network.connections)
        return [f"{source}->{target}" for source in self.population_sizes for target in self.population_sizes]

    @property
    def max_delay(self) -> int:
        """Longest delay that the network can have [ms]; the state keeps spikes this far back."""
        if self.network.edges is not None:
            return MAX_DELAY_MS
        return max((connection.delay_range[1] for connection in self.network.connections.values()), default=1)

    @property
    def weight_average(self) -> bool:
        """Whether each synapse's mean weight over a segment is stored."""
        if self.simulation.weight_average == "auto":
            return self.expected_synapses <= MAX_AVERAGED_SYNAPSES
        return self.simulation.weight_average

    @property
    def records(self) -> bool:
        """Whether variables of single neurons or synapses are recorded."""
        return self.has_network and bool(self.simulation.record.neurons or self.simulation.record.synapses)

    @property
    def expected_synapses(self) -> float:
        return expected_synapses(self.network) if self.has_network else 0.0

    # --- items, and the time ranges of models

    def items(self, stage: Stage) -> Mapping[str, Item]:
        """The items of a stage that are computed, by name; empty for a stage without items."""
        match stage:
            case "features":
                return self.computed_features
            case "models":
                return self.models
            case "explanation":
                return self.methods
        return {}

    @property
    def computed_features(self) -> dict[str, Feature]:
        """The features that apply to this run."""
        return {name: feature for name, feature in self.features.items() if self._applies("features", name, feature)}

    @property
    def methods(self) -> dict[str, Method]:
        """The methods of the explanation that apply to this run."""
        return {name: method for name, method in self.explanation.methods.items() if self._applies("explanation", name, method)}

    @property
    def left_out(self) -> list[str]:
        """The features and methods that are configured but do not apply to this run, like "features.omega_pairs"."""
        features = [f"features.{name}" for name in self.features if name not in self.computed_features]
        return features + [f"explanation.methods.{name}" for name in self.explanation.methods if name not in self.methods]

    def _applies(self, stage: Stage, name: str, item: Item) -> bool:
        record = self.record
        return item.applies(self) if record is None else f"{stage}.{name}" in record

    def time_ranges(self, gap_ms: int) -> dict[str, tuple[int, int]]:
        """Divide the time after training.start_s into training, validation and test [ms], in this order, `gap_ms` apart.

        Half of each gap is taken from each of its neighbours. Ranges are half-open.
        """
        start, end = self.training.start_s * STEPS_PER_SECOND, self.n_steps
        train, validation, _ = self.training.split
        first = start + round(train * (end - start))
        second = start + round((train + validation) * (end - start))
        half = -(-gap_ms // 2)
        return {"train": (start, first - half), "validation": (first + half, second - half), "test": (second + half, end)}
