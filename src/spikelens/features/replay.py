"""Replay STDP on stored spikes, synapse by synapse, to reconstruct the weights within a segment.

Stores contain weights at the ends of segments only. Weight changes are sums of integers over pairs of spikes. So they can be recomputed
exactly from the spike trains of source and target, from the start of a segment on and for any subset of synapses. The simulation computes
the same sums in another order (simulation/plasticity.py); tests compare the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.numerics import DRIFT, NO_SPIKE


@compiled
def spike_trains(steps: NDArray[np.int64], ids: NDArray[np.int64], n_neurons: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sort spikes by neuron, keeping their order in time.

    Parameters
    ----------
    steps, ids : (n_spikes,) int64
        Time [ms] and neuron of each spike, ordered by time.

    Returns
    -------
    first : (n_neurons + 1,) int64
        The train of neuron i is times[first[i]:first[i + 1]].
    times : (n_spikes,) int64
        Spike times [ms].
    """
    first = np.zeros(n_neurons + 1, np.int64)
    for i in ids:
        first[i + 1] += 1
    for i in range(n_neurons):
        first[i + 1] += first[i]
    place = first[:-1].copy()
    times = np.empty(len(ids), np.int64)
    for k in range(len(ids)):
        i = ids[k]
        times[place[i]] = steps[k]
        place[i] += 1
    return first, times


@compiled
def gather_changes(
    change: NDArray[np.int32],
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
    plastic: NDArray[np.bool_],
    first: NDArray[np.int64],
    times: NDArray[np.int64],
    start: int,
    end: int,
    ltd: NDArray[np.int32],
    ltp: NDArray[np.int32],
) -> None:
    """Add the depression by arrivals and the potentiation by target spikes in [start, end) to the pending changes.

    Parameters
    ----------
    change : (n_synapses,) int32
        Pending change of each synapse, updated in place [2^-16 mV]; static synapses are skipped.
    source, target, delay, plastic : (n_synapses,)
        The synapses, in any order; ids index the trains.
    first, times
        Spike trains as from `spike_trains`, up to `end`. They must reach back at least to the last spike before the
        spikes of the last max_delay steps before `start` (or 194 + max_delay steps: STDP is zero beyond lag 193).
    start, end : int
        Steps.
    ltd, ltp : (n_lags,) int32
        STDP tables, zero at their last lag.
    """
    beyond = len(ltp) - 1
    for k in range(len(source)):
        if not plastic[k]:
            continue
        total = 0
        q = NO_SPIKE
        j, j_end = first[source[k]], first[source[k] + 1]
        i, i_end = first[target[k]], first[target[k] + 1]
        p = NO_SPIKE
        while i < i_end and times[i] < start:
            p = times[i]
            i += 1
        while True:
            arrival = times[j] + delay[k] if j < j_end else end
            while i < i_end and times[i] < arrival:
                if times[i] >= end:
                    break
                p = times[i]
                total += ltp[min(p - q, beyond)]
                i += 1
            if arrival >= end:
                break
            if arrival >= start:
                total -= ltd[min(arrival - p - 1, beyond)]
            q = arrival
            j += 1
        change[k] += total


@compiled
def apply_changes(weight: NDArray[np.int32], change: NDArray[np.int32], plastic: NDArray[np.bool_], weight_max: int) -> None:
    """Apply the pending changes at the end of a second: W = min(W_max, max(0, W + drift + dw)), then dw = floor(9 dw / 10)."""
    for k in range(len(weight)):
        if plastic[k]:
            weight[k] = min(weight_max, max(0, weight[k] + DRIFT + change[k]))
            change[k] = (9 * np.int64(change[k])) // 10
