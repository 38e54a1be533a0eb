"""A whole configuration, as in config.yaml, and as a run with its place and sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from spikelens.config.cluster import Cluster
from spikelens.config.drive import Drive
from spikelens.config.explanation import Explanation
from spikelens.config.features import Features
from spikelens.config.models import REFERENCE, Models, Training
from spikelens.config.network import Network, expected_synapses
from spikelens.config.report import Report
from spikelens.config.simulation import Simulation
from spikelens.config.types import MAX_AVERAGED_SYNAPSES, STEPS_PER_SECOND, Scalar, Section, whole
from spikelens.explanation.method import Method
from spikelens.refusals import NAME_PATTERN, RESULTS_PATTERN


class Run(Section):
    """Where the results of this configuration stand."""

    name: Annotated[str, Field(pattern=NAME_PATTERN, description="results go to <results>/<name>/")] = "reference"
    results: Annotated[str, Field(pattern=RESULTS_PATTERN, description="folder that holds all runs")] = "results"


class Config(Section):
    """One run's configuration, complete."""

    model_config = ConfigDict(defer_build=True)  # kinds of items import sections of the configuration

    run: Run = Field(default_factory=Run)
    network: Network = Field(default_factory=Network)
    drive: Drive = Field(default_factory=Drive)
    simulation: Simulation = Field(default_factory=Simulation)
    features: Features = Field(default_factory=Features)
    training: Training = Field(default_factory=Training)
    models: Models = Field(default_factory=lambda: REFERENCE)  # type: ignore[arg-type]
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
        segment_s = whole(simulation.get("segment_s", min(60, whole(simulation.get("duration_s")) or 60)))
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
        """Every ordered pair of populations that a connection joins, as "source->target"; without connection rules, all pairs."""
        if self.network.connections:
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

    @property
    def methods(self) -> dict[str, Method]:
        """The methods of the explanation for which there is what they need."""
        return {name: method for name, method in self.explanation.methods.items() if method.applies(self)}

    def time_ranges(self, gap_ms: int) -> dict[str, tuple[int, int]]:
        """Divide the time after training.start_s into training, validation and test [ms], in this order, `gap_ms` apart.

        Half of each gap is taken from either neighbour; the ranges are half-open.
        """
        start, end = self.training.start_s * STEPS_PER_SECOND, self.n_steps
        train, validation, _ = self.training.split
        first = start + round(train * (end - start))
        second = start + round((train + validation) * (end - start))
        half = -(-gap_ms // 2)
        return {"train": (start, first - half), "validation": (first + half, second - half), "test": (second + half, end)}
