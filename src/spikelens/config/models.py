"""The sections `training` and `models`: how time is divided, and the sequence models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from spikelens.config.items import AnyKind, ItemName, completed
from spikelens.config.types import PositiveFloat, Section
from spikelens.errors import Problem
from spikelens.models.model import Model

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

REFERENCE: dict[str, dict[str, Any]] = {
    "autoencoder": {"kind": "lstm_autoencoder"},
    "tft_population": {"kind": "tft", "series": "populations"},
    "tft_neuron": {
        "kind": "tft", "series": "neurons", "epochs": 8, "batch_size": 512, "learning_rate": 0.003, "samples_per_epoch": 60_000
    },
}  # fmt: skip
"""The models of the reference run."""

Models = Annotated[
    dict[ItemName, Annotated[Model, AnyKind("models")]],
    BeforeValidator(lambda given: completed(given, REFERENCE)),
    Field(description="models by name, each of a kind; by default those of the reference run; given ones replace all of these"),
]


class Training(Section):
    """How time is divided among training, validation and test, for all models."""

    start_s: Annotated[int, Field(ge=0, description="earlier time is left out: STDP settles [s]")] = 50
    split: Annotated[
        tuple[PositiveFloat, PositiveFloat, PositiveFloat],
        Field(strict=False, description="shares of the time for training, validation, test, in this order"),
    ] = (0.6, 0.2, 0.2)


def check_models(run: RunConfig) -> Iterator[Problem]:
    training = run.training
    if not run.models and not run.explanation.methods:  # nobody asks for the test range
        return
    if abs(sum(training.split) - 1) > 1e-9:
        yield Problem("training.split", training.split, "expected three shares that add up to 1")
    if training.start_s >= run.duration_s:
        yield Problem("training.start_s", training.start_s, f"expected less than {run.spikes_stage}.duration_s = {run.duration_s}")
        return
    for name, model in run.models.items():
        where = f"models.{name}"
        if len(set(model.seeds)) < len(model.seeds):
            yield Problem(f"{where}.seeds", model.seeds, "expected each seed once")
        yield from model.check(run, where)
