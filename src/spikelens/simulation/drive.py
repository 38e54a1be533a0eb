"""The drive of a rank's neurons, from the configuration and the user's events."""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from spikelens.config import STEPS_PER_SECOND, RunConfig
from spikelens.numerics import UNITS_PER_MV
from spikelens.simulation.kernel import Drive, Neurons
from spikelens.tables import read_table, refuse_rows

log = logging.getLogger(__name__)

_ALL_WORDS = 2**32


def make_drive(run: RunConfig, neurons: Neurons, warn: bool = False) -> Drive:
    """Collect the drive of a rank's neurons; with `warn`, log warnings about implausible events.

    Raises
    ------
    NetworkError
        If the table of events has an invalid row.
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
    return Drive(drive.seed, round(drive.kick_mv * UNITS_PER_MV), amount, table, *_read_events(run, neurons.ids, warn))


def poisson_limits(mean: float) -> NDArray[np.uint64]:
    """Return the Poisson distribution function P(N <= 0), P(N <= 1), ... times 2^32, up to 2^32.

    A random 32-bit word w gives N = number of limits <= w.
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


def _warn_if_implausible(run: RunConfig, step: NDArray[np.int64], mv: NDArray[np.float64]) -> None:
    """Warn about events without effect: after the end of the run, or with amounts that round to 0."""
    path, n = run.drive.events, f"{len(step):,}"
    if late := int(np.count_nonzero(step >= run.n_steps)):
        text = "%s: %s of %s events are after the end of the run (step %s) and have no effect"
        log.warning(text, path, f"{late:,}", n, f"{run.n_steps:,}")
    if zero := int(np.count_nonzero((mv != 0) & (np.rint(mv * UNITS_PER_MV) == 0))):
        log.warning("%s: %s of %s amounts round to 0 mV (the resolution is 2^-16 mV); are they in mV?", path, f"{zero:,}", n)


def _read_events(run: RunConfig, ids: NDArray[np.int32], warn: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Read the user's drive events for a rank's neurons.

    Parameters
    ----------
    ids : (n_local,) int32
        The neurons, in increasing order.

    Returns
    -------
    step, neuron, amount : (n_events,)
        Ordered by step; local neuron indices; amounts in 2^-16 mV. Empty without drive.events.

    Raises
    ------
    NetworkError
        With the row of an unknown neuron, a negative step, or an amount out of range. Steps after the end of
        the run are allowed, since the duration can be extended later.
    """
    path = run.drive.events
    if path is None:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
    table = read_table(path, {"step": int, "neuron": int, "mv": float})
    step, neuron, mv = table["step"], table["neuron"], table["mv"]
    if warn:
        _warn_if_implausible(run, step, mv)
    refuse_rows(path, step < 0, step, "a step of at least 0")
    refuse_rows(path, (neuron < 0) | (neuron >= run.network.neurons), neuron, f"a neuron id in 0 .. {run.network.neurons - 1}")
    refuse_rows(path, np.abs(mv) >= 32_768, mv, "|amount| < 32,768 mV")
    order = np.argsort(step, kind="stable")
    local = np.searchsorted(ids, neuron[order])
    own = ids[np.minimum(local, len(ids) - 1)] == neuron[order]
    return step[order][own], local[own], np.rint(mv[order][own] * UNITS_PER_MV).astype(np.int32)
