"""What happens in one step of 1 ms, compiled: drive, neurons, delivery of spikes.

The order of operations is the contract (docs/model.md): currents are integers, so that sums over synapses may be taken in any
order; the membrane is float32, each operation rounded on its own (no fused multiply-add, no fastmath).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.random import STREAM_KICKS, below, words

GROUP_SIZE = 1_000
"""Each drive group of so many neurons gets one kick a step."""
ALL_FINITE = -1

_CURRENT_UNIT = np.float32(2.0**-16)
_HALF = np.float32(0.5)
_V2 = np.float32(0.04)
_V1 = np.float32(5.0)
_V0 = np.float32(140.0)
_THRESHOLD_MV = np.float32(30.0)


@compiled
def kick(current: NDArray[np.int32], t: int, first: int, seed: int, amount: int) -> None:
    """Add the drive of step t: in every group of 1,000 neurons the one that is drawn gets `amount` [2^-16 mV], if it exists.

    `current` is (n_local,), for the neurons from `first` on.
    """
    end = first + len(current)
    for group in range(first // GROUP_SIZE, (end - 1) // GROUP_SIZE + 1):
        word, _, _, _ = words(seed, STREAM_KICKS, group, t)
        neuron = group * GROUP_SIZE + below(word, GROUP_SIZE)
        if first <= neuron < end:
            current[neuron - first] += amount


@compiled
def replay(current: NDArray[np.int32], t: int, step: NDArray[np.int64], neuron: NDArray[np.int64], amount: NDArray[np.int32]) -> None:
    """Add the user's events of step t; (n_events,) arrays ordered by step, neurons counted from the first local one."""
    for k in range(np.searchsorted(step, t), np.searchsorted(step, t + 1)):
        current[neuron[k]] += amount[k]


@compiled(error_model="numpy")
def update_neurons(
    current: NDArray[np.int32],
    v: NDArray[np.float32],
    u: NDArray[np.float32],
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    c: NDArray[np.float32],
    d: NDArray[np.float32],
    first: int,
    spiking: NDArray[np.int32],
) -> tuple[int, int]:
    """Advance the neurons by 1 ms (Izhikevich 2003: two half steps of v, one of u), and clear the current for its next use.

    Ids of the neurons that spike are written to the front of `spiking`.

    Returns
    -------
    n_spikes : int
    not_finite : int
        The lowest id of a neuron whose v is no longer finite, or ALL_FINITE.
    """
    n_spikes = 0
    not_finite = ALL_FINITE
    for i in range(len(v)):
        x = _V0 - u[i] + np.float32(current[i]) * _CURRENT_UNIT
        current[i] = 0
        y = v[i]
        y = y + _HALF * (_V2 * y * y + _V1 * y + x)
        y = y + _HALF * (_V2 * y * y + _V1 * y + x)
        w = u[i] + a[i] * (b[i] * y - u[i])
        if not_finite == ALL_FINITE and not np.isfinite(y):
            not_finite = first + i
        if y >= _THRESHOLD_MV:
            y = c[i]
            w = w + d[i]
            spiking[n_spikes] = first + i
            n_spikes += 1
        v[i] = y
        u[i] = w
    return n_spikes, not_finite


@compiled
def deliver(
    arriving: NDArray[np.int32],
    step: int,
    not_before: int,
    spiking: NDArray[np.int32],
    first_synapse: NDArray[np.int64],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
    weight: NDArray[np.int32],
) -> None:
    """Add the weights of spikes of one step to the currents of the steps at which they arrive.

    Parameters
    ----------
    arriving : (max_delay + 1, n_local) int32
        Row t % (max_delay + 1) is the current of step t.
    step : int
        When the neurons in `spiking` (ids) spiked.
    not_before : int
        Arrivals earlier than this step are left out (they were delivered before).
    first_synapse, target, delay, weight
        Synapses ordered by source: those of neuron j are first_synapse[j]:first_synapse[j + 1]; targets counted from the
        first local neuron.
    """
    n_rows = len(arriving)
    row_now = step % n_rows
    for j in spiking:
        for k in range(np.uint64(first_synapse[j]), np.uint64(first_synapse[j + 1])):
            if step + delay[k] >= not_before:
                row = row_now + delay[k]
                if row >= n_rows:
                    row -= n_rows
                arriving[row, target[k]] += weight[k]
