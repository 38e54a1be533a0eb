"""The section `explanation`: methods that score pairs of neurons, and how the scores are judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from spikelens.config.items import AnyKind, ItemName, completed
from spikelens.config.types import Finite, Positive, Section, Seed
from spikelens.errors import Problem
from spikelens.explanation.method import Method

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig

REFERENCE: dict[str, dict[str, Any]] = {name: {"kind": name} for name in ("attention", "rate_correlation", "omega")}
"""The methods of the reference run."""

Methods = Annotated[
    dict[ItemName, Annotated[Method, AnyKind("methods")]],
    BeforeValidator(lambda given: completed(given, REFERENCE)),
    Field(description="methods by name, each of a kind; default: the methods of the reference run, which given methods replace"),
]


class Explanation(Section):
    """Methods that score pairs of neurons, and the comparison of their scores with the wiring."""

    seed: Annotated[Seed, Field(description="seed of shuffles and bootstrap")] = 1
    shuffles: Annotated[Positive, Field(description="permutations of labels within populations")] = 20
    bootstraps: Annotated[Positive, Field(description="resamples of targets for confidence intervals")] = 200
    strata_mv: Annotated[
        tuple[Finite, ...], Field(min_length=2, strict=False, description="edges of the classes of time-averaged weight [mV]")
    ] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 10.0)
    methods: Methods = Field(default_factory=lambda: REFERENCE)  # type: ignore[arg-type]


def check_explanation(run: RunConfig) -> Iterator[Problem]:
    strata = run.explanation.strata_mv
    if list(strata) != sorted(set(strata)):
        yield Problem("explanation.strata_mv", strata, "expected increasing weights [mV], each once")
    for name, method in run.explanation.methods.items():
        yield from method.check(run, f"explanation.methods.{name}")
