"""The wall-time rule, before anything is submitted: a job fits the limit if it is expected to need at most half of it.

The other half is for what is not known beforehand: the cluster's cores, the network's rate. A segment that does not fit is refused,
with the `simulation.segment_s` that does; a training is not, since it goes on from its last epoch, but is told of. Seconds come from
`speeds`; what a job does that sees its limit near stands in `limits`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from spikelens.config import STEPS_PER_SECOND, RunConfig, Stage, check, stages_until
from spikelens.errors import ConfigError, Problem
from spikelens.jobs import Rule, stage_of
from spikelens.speeds import Speeds, job_seconds, shipped

SHARE = 0.5
"""Of the limit, a job may be expected to need so much."""

SecondsOf = Callable[[RunConfig, Rule], float]
"""Expected seconds of one job of a rule."""

_REMEDIES: dict[Rule, tuple[str, str]] = {
    "network": ("network", "take smaller blocks"),
    "recording": ("recording", "take a longer limit"),
    "features": ("network", "take smaller blocks or a smaller segment_s"),
    "explanation": ("cluster", "take a longer limit, a shorter run, or less of explanation.shuffles and bootstraps"),
    "report": ("cluster", "take a longer limit"),
}
"""The section whose key makes a job of a stage shorter, and what to do with it."""


@dataclass(frozen=True)
class Verdict:
    """Whether a run's segments fit the limit of its jobs."""

    limit_min: int
    segment_min: float
    """What a segment is expected to need [min]."""
    fits: bool
    segment_s: int | None
    """The longest segment, up to the configured one, that fits; None: not even the shortest does."""
    ranks: int | None
    """Where none fits: the fewest ranks on which the configured one would; None: as many as there are blocks are too few."""


def judge(run: RunConfig, seconds_of: SecondsOf, until: Stage | None = None) -> Verdict | None:
    """Compare a run's segments with cluster.limit_min; None if there is no limit. A shorter segment must fit the stages up to `until`."""
    limit_min = run.cluster.limit_min
    if limit_min is None or not run.has_network:
        return None
    seconds, most = seconds_of(run, "simulation"), SHARE * 60 * limit_min
    fits = seconds <= most
    segment_s = run.simulation.segment_s if fits else _fitting_segment(run, most, seconds_of, until)
    ranks = None if segment_s is not None else _enough_ranks(run, most, seconds_of)
    return Verdict(limit_min, seconds / 60, fits, segment_s, ranks)


def _fitting_segment(run: RunConfig, most_s: float, seconds_of: SecondsOf, until: Stage | None) -> int | None:
    """The longest simulation.segment_s below the configured one that takes at most so many seconds and that `config.check` takes.

    Of the segment's constraints, divisors leave its multiples of a step; all others are bounds. So no shorter one has to be tried.
    """
    chunk_ms = run.simulation.chunk_ms
    features = run.computed_features if "features" in stages_until(until) else {}
    windows = (getattr(feature, "window_s", None) or 1 for feature in features.values())
    step = math.lcm(*windows, chunk_ms // math.gcd(chunk_ms, STEPS_PER_SECOND))
    too_few, too_many = 0, run.simulation.segment_s // step
    while too_many - too_few > 1:  # seconds grow with the segment
        middle = (too_few + too_many) // 2
        if seconds_of(_with(run, segment_s=middle * step), "simulation") <= most_s:
            too_few = middle
        else:
            too_many = middle
    fitting = _with(run, segment_s=too_few * step)
    return too_few * step if too_few and not any(check(fitting, until)) else None


def _enough_ranks(run: RunConfig, most_s: float, seconds_of: SecondsOf) -> int | None:
    more = range(run.simulation.ranks + 1, run.n_blocks + 1)
    return next((ranks for ranks in more if seconds_of(_with(run, ranks=ranks), "simulation") <= most_s), None)


def _with(run: RunConfig, **keys: int) -> RunConfig:
    """The run with other keys of its simulation."""
    return run.model_copy(update={"simulation": run.simulation.model_copy(update=keys)})


def problems(run: RunConfig, seconds_of: SecondsOf, until: Stage | None = None) -> Iterator[Problem]:
    """Yield every reason why a run's jobs, up to a stage (None: all), do not fit its limit."""
    limit_min, verdict, stages = run.cluster.limit_min, judge(run, seconds_of, until), stages_until(until)
    if limit_min is None:
        return
    limit = f"more than half of the limit, {limit_min} min (cluster.limit_min)"
    if verdict is not None and not verdict.fits and "simulation" in stages:
        needs = f"on {run.simulation.ranks} ranks, a segment is expected to need {verdict.segment_min:,.3g} min, {limit}"
        yield Problem("simulation.segment_s", run.simulation.segment_s, f"{needs}; {_remedy(run, verdict)}")
    spikes = ("network",) if run.has_network else ("recording",)
    rules = (*spikes, *(f"features.{name}" for name in run.computed_features), "explanation", "report")
    for rule in (rule for rule in rules if stage_of(rule) in stages):
        minutes = seconds_of(run, rule) / 60
        if minutes > SHARE * limit_min:
            section, remedy = _REMEDIES[stage_of(rule)]
            key, value = ("cluster.limit_min", limit_min)
            if section != "cluster":
                key, value = f"{spikes[0]}.block_size", run.block_size
            yield Problem(key, value, f"a job of {rule} is expected to need {minutes:,.3g} min, {limit}; {remedy}")


def _remedy(run: RunConfig, verdict: Verdict) -> str:
    if verdict.segment_s is not None:
        return f"{verdict.segment_s} fits"
    if verdict.ranks is not None:
        return f"not even the shortest segment fits; take simulation.ranks: {verdict.ranks}, which is enough for this one"
    enough = math.ceil(verdict.segment_min / SHARE)
    return (
        f"not even the shortest segment fits, nor is a rank for each of the {run.n_blocks} blocks enough; take smaller blocks "
        f"(network.block_size) and more ranks, or a partition whose limit is {enough:,} min or longer"
    )


def remarks(run: RunConfig, seconds_of: SecondsOf) -> Iterator[str]:
    """Tell of trainings that are not refused, but are expected to need more than half of the limit."""
    if run.cluster.limit_min is None:
        return
    for rule in (f"models.{name}" for name in run.models):
        minutes = seconds_of(run, rule) / 60
        if minutes > SHARE * run.cluster.limit_min:
            yield (
                f"{rule}: {minutes:,.3g} min are expected, more than half of the limit of {run.cluster.limit_min} min; a training that "
                "the limit ends goes on from its last epoch when it is started again"
            )


def refuse_unfit(runs: Sequence[RunConfig], source: str, seconds_of: SecondsOf | None = None, until: Stage | None = None) -> None:
    """Refuse runs whose jobs do not fit the time limit in their configuration.

    Parameters
    ----------
    seconds_of
        Expected seconds of a job; None: from the speeds in the package.
    until
        The last stage that will be run; None: all stages will be.

    Raises
    ------
    ConfigError
        With every problem found.
    """
    chosen = seconds_of or by_speeds(shipped())
    found = [problem for run in runs for problem in problems(run, chosen, until)]
    if found:
        raise ConfigError(source, list(dict.fromkeys(found)))


def by_speeds(speeds: Speeds, *rate_hz: float) -> SecondsOf:
    """Expected seconds by measured speeds, at the mean rate that is assumed or given [Hz]."""
    return lambda run, rule: job_seconds(run, rule, speeds, *rate_hz)
