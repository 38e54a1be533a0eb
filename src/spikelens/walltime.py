"""Wall-time check before submission: the expected time of a job must be at most half of its time limit.

The other half is a margin for the speed of the cluster's cores and the network's firing rate, which are
unknown. A segment that does not fit is refused, and the error names a `simulation.segment_s` that fits. A
training run only causes a warning, since it resumes from its last epoch. Expected times come from `speeds`.
`limits` stops running jobs that will exceed their limit.
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
"""Maximum expected time of a job, as a fraction of the limit."""

SecondsOf = Callable[[RunConfig, Rule], float]
"""Return the expected time of one job of a rule [s]."""

_REMEDIES: dict[str, str] = {
    "network": "use smaller blocks (network.block_size)",
    "recording": "use a longer limit, or a table of fewer spikes",
    "features": "use a longer limit or a smaller segment_s",
    "explanation": "use a longer limit, a shorter run, or fewer explanation.shuffles and bootstraps",
    "report": "use a longer limit",
}
"""For each stage, what to do about a job that takes too long."""


@dataclass(frozen=True)
class Verdict:
    """Whether the segments of a run fit the time limit of jobs."""

    limit_min: int
    segment_min: float
    """Expected time of a segment [min]."""
    fits: bool
    segment_s: int | None
    """The longest segment that fits, at most the configured one; None if no segment fits."""
    ranks: int | None
    """If no segment fits: fewest ranks with which the configured one does; None: one per block is too few."""


def judge(run: RunConfig, seconds_of: SecondsOf, until: Stage | None = None) -> Verdict | None:
    """Compare the expected time of a segment with cluster.limit_min; return None without a limit.

    The suggested segment is valid for the stages up to `until`.
    """
    limit_min = run.cluster.limit_min
    if limit_min is None or not run.has_network:
        return None
    seconds, most = seconds_of(run, "simulation"), SHARE * 60 * limit_min
    fits = seconds <= most
    segment_s = run.simulation.segment_s if fits else _fitting_segment(run, most, seconds_of, until)
    ranks = None if segment_s is not None else _enough_ranks(run, most, seconds_of)
    return Verdict(limit_min, seconds / 60, fits, segment_s, ranks)


def _fitting_segment(run: RunConfig, most_s: float, seconds_of: SecondsOf, until: Stage | None) -> int | None:
    """Return the longest valid segment_s below the configured one that takes at most `most_s`.

    Divisor constraints restrict segments to multiples of a step, and all other constraints are bounds. So
    shorter segments need not be tried.
    """
    chunk_ms = run.simulation.chunk_ms
    features = run.computed_features if "features" in stages_until(until) else {}
    windows = (getattr(feature, "window_s", None) or 1 for feature in features.values())
    step = math.lcm(*windows, chunk_ms // math.gcd(chunk_ms, STEPS_PER_SECOND))
    too_few, too_many = 0, run.simulation.segment_s // step
    while too_many - too_few > 1:  # the time grows with the segment
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
    """Return the run with changed keys of its section `simulation`."""
    return run.model_copy(update={"simulation": run.simulation.model_copy(update=keys)})


def problems(run: RunConfig, seconds_of: SecondsOf, until: Stage | None = None) -> Iterator[Problem]:
    """Yield a problem for each rule, up to a stage (None: all), whose jobs do not fit the time limit."""
    limit_min, verdict, stages = run.cluster.limit_min, judge(run, seconds_of, until), stages_until(until)
    if limit_min is None:
        return
    limit = f"more than half of the limit, {limit_min} min (cluster.limit_min)"
    if verdict is not None and not verdict.fits and "simulation" in stages:
        needs = f"a segment on {run.simulation.ranks} ranks is expected to take {verdict.segment_min:,.3g} min, {limit}"
        yield Problem("simulation.segment_s", run.simulation.segment_s, f"{needs}; {_remedy(run, verdict)}")
    spikes = ("network",) if run.has_network else ("recording",)
    rules = (
        *spikes,
        *(f"features.{name}" for name in run.computed_features),
        *(f"explanation.{name}" for name in run.methods),
        "explanation",
        "report",
    )
    for rule in (rule for rule in rules if stage_of(rule) in stages):
        minutes = seconds_of(run, rule) / 60
        if minutes > SHARE * limit_min:
            problem = f"a job of {rule} is expected to take {minutes:,.3g} min, {limit}; {_REMEDIES[stage_of(rule)]}"
            key, value = ("network.block_size", run.block_size) if rule == "network" else ("cluster.limit_min", limit_min)
            yield Problem(key, value, problem)


def _remedy(run: RunConfig, verdict: Verdict) -> str:
    if verdict.segment_s is not None:
        return f"{verdict.segment_s} fits"
    if verdict.ranks is not None:
        return f"no shorter segment fits; use simulation.ranks: {verdict.ranks}, with which this one fits"
    enough = math.ceil(verdict.segment_min / SHARE)
    return (
        f"no shorter segment fits, and one rank for each of the {run.n_blocks} blocks is not enough; use smaller blocks "
        f"(network.block_size) and more ranks, or a partition with a limit of at least {enough:,} min"
    )


def remarks(run: RunConfig, seconds_of: SecondsOf) -> Iterator[str]:
    """Yield a warning for each training run that is expected to take more than half of the limit."""
    if run.cluster.limit_min is None:
        return
    for rule in (f"models.{name}" for name in run.models):
        minutes = seconds_of(run, rule) / 60
        if minutes > SHARE * run.cluster.limit_min:
            yield (
                f"{rule} is expected to take {minutes:,.3g} min, more than half of the limit of {run.cluster.limit_min} min; if it "
                "is killed at the limit, it resumes from its last epoch when it is started again"
            )


def refuse_unfit(runs: Sequence[RunConfig], source: str, seconds_of: SecondsOf | None = None, until: Stage | None = None) -> None:
    """Raise if jobs of the runs do not fit the time limit in their configuration.

    Parameters
    ----------
    seconds_of
        Expected seconds of a job; None: from the speeds in the package.
    until
        The last stage that will be run; None: all stages will be.

    Raises
    ------
    ConfigError
        With all problems found.
    """
    chosen = seconds_of or by_speeds(shipped())
    found = [problem for run in runs for problem in problems(run, chosen, until)]
    if found:
        raise ConfigError(source, list(dict.fromkeys(found)))


def by_speeds(speeds: Speeds, *rate_hz: float) -> SecondsOf:
    """Return a function for expected times [s] from measured speeds and the (assumed) mean rate [Hz]."""
    return lambda run, rule: job_seconds(run, rule, speeds, *rate_hz)
