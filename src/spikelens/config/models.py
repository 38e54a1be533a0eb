"""The sections `training` and `models`: the training, validation and test ranges, and the sequence models."""

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
    Field(description="models by name, each of a kind; default: the models of the reference run, which given models replace"),
]


class Training(Section):
    """The training, validation and test ranges of all models."""

    start_s: Annotated[
        int, Field(ge=0, description="start of the training range; earlier time is not used, so that STDP can settle [s]")
    ] = 50
    split: Annotated[
        tuple[PositiveFloat, PositiveFloat, PositiveFloat],
        Field(strict=False, description="fractions of the time used for training, validation and test, in this order"),
    ] = (0.6, 0.2, 0.2)


def check_training(run: RunConfig) -> Iterator[Problem]:
    """Check the ranges, which models and methods of the explanation use."""
    training = run.training
    if abs(sum(training.split) - 1) > 1e-9:
        yield Problem("training.split", training.split, "expected three fractions that add up to 1")
    if training.start_s >= run.duration_s:
        yield Problem("training.start_s", training.start_s, f"expected less than {run.spikes_stage}.duration_s = {run.duration_s}")


def check_models(run: RunConfig) -> Iterator[Problem]:
    if run.models:
        yield from check_training(run)
    if run.training.start_s >= run.duration_s:  # no model has any data
        return
    for name, model in run.models.items():
        where = f"models.{name}"
        if len(set(model.seeds)) < len(model.seeds):
            yield Problem(f"{where}.seeds", model.seeds, "expected distinct seeds")
        yield from model.check(run, where)
