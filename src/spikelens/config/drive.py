"""The section `drive`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from spikelens.config.types import Finite, Section, Seed
from spikelens.errors import Problem

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig


class PoissonInput(Section):
    """Independent Poisson spike trains to each neuron of a population, which model many external sources."""

    rate_hz: Annotated[float, Field(gt=0, le=100_000, description="rate of events per neuron [Hz]")]
    weight_mv: Annotated[Finite, Field(gt=-32_768, lt=32_768, description="input added by one event [mV]")]


class Drive(Section):
    """External input to the neurons."""

    seed: Annotated[Seed, Field(description="seed of the kicks and the Poisson input")] = 1
    kick_mv: Annotated[Finite, Field(gt=-32_768, lt=32_768, description="input to one of every 1,000 neurons, each ms [mV]; 0: none")] = (
        20.0
    )
    poisson: Annotated[
        dict[str, PoissonInput],
        Field(description="population -> rate_hz [Hz], weight_mv [mV] of an independent spike train to each of its neurons"),
    ] = Field(default_factory=dict)
    current_mv: Annotated[
        dict[str, Annotated[Finite, Field(gt=-32_768, lt=32_768, description="constant input per step [mV]")]],
        Field(description="population -> constant input per step [mV]"),
    ] = Field(default_factory=dict)
    events: Annotated[str | None, Field(description="table (parquet, csv, npz) of step, neuron, mv, added to the input exactly")] = None


def check_drive(run: RunConfig) -> Iterator[Problem]:
    for key, inputs in (("poisson", run.drive.poisson), ("current_mv", run.drive.current_mv)):
        for name in inputs:
            if name not in run.network.populations:
                yield Problem(f"drive.{key}", name, f"no such population; known: {', '.join(run.network.populations)}")
