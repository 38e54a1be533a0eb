"""Resolve the option `model` of an explanation method: a Temporal Fusion Transformer of single neurons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from spikelens.errors import Problem

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

AUTO = "auto"
"""Value of the option: the first TFT of single neurons."""


def of_neurons(run: RunConfig) -> list[str]:
    """Names of the models that forecast single neurons."""
    return [name for name, model in run.models.items() if getattr(model, "forecasts_neurons", False)]


def named(run: RunConfig, option: str | None) -> str | None:
    """The name of the model that the option refers to; None if there is none."""
    known = of_neurons(run)
    return next(iter(known), None) if option == AUTO else option if option in known else None


def model_of(run: RunConfig, option: str | None) -> Any:
    """The model that the option refers to; None if there is none."""
    name = named(run, option)
    return None if name is None else run.models[name]


def check_model(run: RunConfig, where: str, option: str | None) -> Iterator[Problem]:
    """Yield a problem if the option does not name a TFT of single neurons."""
    known = of_neurons(run)
    if option not in (AUTO, None, *known):
        hint = f"expected a TFT of single neurons: {', '.join(known)}" if known else "no model is a TFT of single neurons"
        yield Problem(f"{where}.model", option, hint)
