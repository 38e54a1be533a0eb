"""The section `explanation`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spikelens.config.types import Finite, Positive, Section, Seed


class Explanation(Section):
    """What the models' attention is held against, and how sure the scores are."""

    seed: Annotated[Seed, Field(description="seed of shuffles and bootstrap")] = 1
    model: Annotated[
        str | None, Field(description="model whose attention is recorded; auto: the first TFT of single neurons; null: none")
    ] = "auto"
    windows: Annotated[Positive, Field(description="test windows over which attention is recorded, evenly spaced")] = 40
    shuffles: Annotated[Positive, Field(description="permutations of labels within populations")] = 20
    bootstraps: Annotated[Positive, Field(description="resamples of targets for confidence intervals")] = 200
    strata_mv: Annotated[
        tuple[Finite, ...], Field(min_length=2, strict=False, description="edges of the classes of time-averaged weight [mV]")
    ] = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 10.0)
