"""The drive of a rank's neurons: what of the configuration and of the user's events concerns them."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.simulation.kernel import Drive, Neurons
from spikelens.stores import UNITS_PER_MV
from spikelens.tables import read_table, refuse_rows

log = logging.getLogger(__name__)

_ALL_WORDS = 2**32


def make_drive(run: RunConfig, neurons: Neurons, tell: bool = False) -> Drive:
    """Collect the drive of a rank's neurons; `tell` warns of events that are hardly meant so.

    Raises
    ------
    NetworkError
        If the table of events has a bad row.
    """
    drive = run.drive
    firsts = np.array([first for first, _ in run.populations.values()])
    names = np.array(list(run.populations))[np.searchsorted(firsts, neurons.ids[neurons.bounds[:-1]], side="right") - 1]
    given = [drive.poisson.get(name) for name in names]
    amount = np.array([0 if poisson is None else round(poisson.weight_mv * UNITS_PER_MV) for poisson in given], np.int32)
    limits = [poisson_limits(0.0 if poisson is None else poisson.rate_hz / STEPS_PER_SECOND) for poisson in given]
    table = np.full((len(given), max(map(len, limits))), _ALL_WORDS, np.uint64)
    for row, values in zip(table, limits, strict=True):
        row[: len(values)] = values
    return Drive(drive.seed, round(drive.kick_mv * UNITS_PER_MV), amount, table, *_read_events(run, neurons.ids, tell))


def poisson_limits(mean: float) -> NDArray[np.uint64]:
    """The distribution function of a Poisson number, P(N <= 0), P(N <= 1), ..., times 2^32, up to where it rounds to 2^32.

    A random word of 32 bits stands for as many events as there are limits that do not exceed it.
    """
    limits: list[int] = []
    n, probability, total = 0, math.exp(-mean), 0.0
    while True:
        total += probability
        limit = round(total * _ALL_WORDS)
        if limit >= _ALL_WORDS or (n > mean and limits and limit == limits[-1]):
            return np.array(limits, np.uint64)
        limits.append(limit)
        n += 1
        probability *= mean / n


def _warn_of_oddities(run: RunConfig, step: NDArray[np.int64], mv: NDArray[np.float64]) -> None:
    """Warn of events that have no effect: they come after the run's end, or their amounts round to 0."""
    path, n = run.drive.events, f"{len(step):,}"
    if late := int(np.count_nonzero(step >= run.n_steps)):
        log.warning("%s: %s of %s events come after the run's end at step %s and have no effect", path, f"{late:,}", n, f"{run.n_steps:,}")
    if zero := int(np.count_nonzero((mv != 0) & (np.rint(mv * UNITS_PER_MV) == 0))):
        log.warning("%s: %s of %s amounts round to 0 mV; the smallest step is 2^-16 mV: are they in mV?", path, f"{zero:,}", n)


def _read_events(run: RunConfig, ids: NDArray[np.int32], tell: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Read the user's drive events for a rank's neurons.

    Parameters
    ----------
    ids : (n_local,) int32
        The neurons, increasing.

    Returns
    -------
    step, neuron, amount : (n_events,)
        Ordered by step; neurons counted on the rank; amounts in 2^-16 mV. Empty without drive.events.

    Raises
    ------
    NetworkError
        Naming the row of an unknown neuron, a step below 0, or an amount out of range. Steps after the run's end are none of its
        concern: a run may grow.
    """
    path = run.drive.events
    if path is None:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
    table = read_table(path, {"step": int, "neuron": int, "mv": float})
    step, neuron, mv = table["step"], table["neuron"], table["mv"]
    if tell:
        _warn_of_oddities(run, step, mv)
    refuse_rows(path, step < 0, step, "a step of at least 0")
    refuse_rows(path, (neuron < 0) | (neuron >= run.network.neurons), neuron, f"a neuron id in 0 .. {run.network.neurons - 1}")
    refuse_rows(path, np.abs(mv) >= 32_768, mv, "an amount below 32,768 mV")
    order = np.argsort(step, kind="stable")
    local = np.searchsorted(ids, neuron[order])
    own = ids[np.minimum(local, len(ids) - 1)] == neuron[order]
    return step[order][own], local[own], np.rint(mv[order][own] * UNITS_PER_MV).astype(np.int32)
