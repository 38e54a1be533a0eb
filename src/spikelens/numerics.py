"""Numbers and equations that the simulation and what is computed from the spikes share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNITS_PER_MV = 65_536
"""Weights, weight changes and input currents are int32 in units of 2^-16 mV."""
NO_SPIKE = -1_000_000_000
"""Time of the last spike of a neuron that has not spiked: far before the start, and no overflow when subtracted."""
DRIFT = 655
"""Increment of each plastic weight per second [2^-16 mV]: 0.01 mV."""
MAX_WEIGHT_SUM = 2**31
"""The absolute weights onto a neuron add up to less than this [2^-16 mV]."""
STDP_LAGS = 256
"""Length of the stored STDP tables; they are zero from 194 on."""


def stdp_tables() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The weight changes of STDP by lag, in units of 2^-16 mV: (LTD, LTP), each (STDP_LAGS,).

    round(A exp(-k/20) 65536) with A = 0.12 and 0.10 mV, the nearest-neighbour rule of Izhikevich (2006), computed in float64.
    """
    lag = np.arange(STDP_LAGS, dtype=np.float64)
    ltd, ltp = (np.rint(amplitude * np.exp(-lag / 20.0) * UNITS_PER_MV).astype(np.int32) for amplitude in (0.12, 0.10))
    if ltd[194:].any() or ltp[194:].any():
        raise AssertionError("STDP tables must vanish from lag 194 on: no history is cut")
    return ltd, ltp


def evenly_spaced(n: int, at_most: int) -> NDArray[np.int64]:
    """At most `at_most` of the numbers below n, evenly spaced."""
    count = min(n, at_most)
    return (np.arange(count, dtype=np.int64) * n) // max(count, 1)
