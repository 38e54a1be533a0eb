"""Weights and delays that differ from synapse to synapse.

Each is a whole number (a weight in 2^-16 mV, a delay in ms) within bounds, and a function of the seed, the connection, source and
target alone: it belongs to the synapse, whatever rule drew it and in whatever block it stands.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from spikelens.compiled import compiled
from spikelens.config import Connection, DelayDistribution, DistributionName, Network, log_parameters, weight_bounds_mv
from spikelens.random import below, uniform, words
from spikelens.stores import UNITS_PER_MV

UNIFORM, NORMAL, LOGNORMAL = range(3)


class Distribution(NamedTuple):
    """Whole numbers in low .. high; for a lognormal, mean and standard deviation are those of the logarithm of `sign` times the value."""

    kind: int
    mean: float
    sd: float
    sign: int
    low: int
    high: int


def weights(network: Network, connection: Connection) -> Distribution:
    """The distribution of a connection's weights [2^-16 mV]; one weight for all is a uniform one without width."""
    weight = connection.weight_mv
    if isinstance(weight, float | int):
        units = round(weight * UNITS_PER_MV)
        return Distribution(UNIFORM, 0.0, 0.0, 1, units, units)
    low, high = weight_bounds_mv(network, weight, connection.plastic)
    bounds = round(low * UNITS_PER_MV), round(high * UNITS_PER_MV)
    mean, sd = (weight.mean_mv or 0.0) * UNITS_PER_MV, (weight.sd_mv or 0.0) * UNITS_PER_MV
    return _distribution(weight.distribution, mean, sd, *bounds)


def delays(connection: Connection) -> Distribution:
    """The distribution of a connection's delays [ms]."""
    delay = connection.delay_ms
    if isinstance(delay, DelayDistribution):
        return _distribution(delay.distribution, delay.mean_ms or 0.0, delay.sd_ms or 0.0, *connection.delay_range)
    return _distribution("uniform", 0.0, 0.0, *delay)


def _distribution(name: DistributionName, mean: float, sd: float, low: int, high: int) -> Distribution:
    if name == "uniform":
        return Distribution(UNIFORM, 0.0, 0.0, 1, low, high)
    if name == "normal":
        return Distribution(NORMAL, mean, sd, 1, low, high)
    return Distribution(LOGNORMAL, *log_parameters(abs(mean), sd), 1 if mean > 0 else -1, low, high)


@compiled
def draw(distribution: Distribution, seed: int, stream: int, source: int, target: int) -> int:
    """Draw the value of one synapse: rounded to a whole number, and drawn again until it lies within the bounds.

    Normal numbers are those of Box and Muller (1958).
    """
    kind, mean, sd, sign, low, high = distribution
    if low == high:
        return low
    synapse = np.int64(target) << 32 | np.int64(source)
    counter = 0
    while True:
        first, second, third, fourth = words(seed, stream, synapse, counter)
        if kind == UNIFORM:
            return int(low + below(first, high - low + 1))
        normal = math.sqrt(-2.0 * math.log(uniform(first, second))) * math.cos(2.0 * math.pi * uniform(third, fourth))
        value = mean + sd * normal
        if kind == LOGNORMAL:
            value = sign * math.exp(value)
        if low - 0.5 <= value <= high + 0.5:  # before it is made an integer: a lognormal may be beyond any
            whole = int(np.rint(value))
            if low <= whole <= high:
                return whole
        counter += 1
