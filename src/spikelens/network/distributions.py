"""Draw weights and delays of synapses from distributions.

A value is an integer (a weight in 2^-16 mV or a delay in ms) within bounds. It is a function of seed,
connection, source and target only, so it does not depend on the connection rule or the block.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from spikelens.compiled import compiled
from spikelens.config import Connection, DelayDistribution, DistributionName, Network, log_parameters, weight_bounds_mv
from spikelens.numerics import UNITS_PER_MV
from spikelens.random import below, uniform, words

UNIFORM, NORMAL, LOGNORMAL = range(3)


class Distribution(NamedTuple):
    """A distribution of integers in low .. high; lognormal: mean and sd are those of log(sign * value)."""

    kind: int
    mean: float
    sd: float
    sign: int
    low: int
    high: int


def weights(network: Network, connection: Connection) -> Distribution:
    """Return the distribution of weights [2^-16 mV]; a single value is a uniform one of width 0."""
    weight = connection.weight_mv
    if isinstance(weight, float | int):
        units = round(weight * UNITS_PER_MV)
        return Distribution(UNIFORM, 0.0, 0.0, 1, units, units)
    low, high = weight_bounds_mv(network, weight, connection.plastic)
    bounds = round(low * UNITS_PER_MV), round(high * UNITS_PER_MV)
    mean, sd = (weight.mean_mv or 0.0) * UNITS_PER_MV, (weight.sd_mv or 0.0) * UNITS_PER_MV
    return _distribution(weight.distribution, mean, sd, *bounds)


def delays(connection: Connection) -> Distribution:
    """Return the distribution of a connection's delays [ms]."""
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
    """Draw the value of one synapse, rounded to an integer; values outside the bounds are drawn again.

    Normal numbers use the method of Box and Muller (1958).
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
        if low - 0.5 <= value <= high + 0.5:  # a lognormal value can exceed any integer type
            whole = int(np.rint(value))
            if low <= whole <= high:
                return whole
        counter += 1
