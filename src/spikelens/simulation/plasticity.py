"""Spike-timing-dependent plasticity: update of the plastic weights at the end of each second.

The rule is additive with nearest-neighbour pairing (Izhikevich 2006). An arrival at t after the target's last
spike p < t depresses by LTD[t-p-1]. A spike of the target at t after the last arrival q <= t potentiates by
LTP[t-q]. Depression is applied during delivery (`kernel.deliver_plastic`). Potentiation at the time of a
spike would need all synapses onto the neuron. But weights change only at whole seconds, and sums of integers
can be taken in any order. So potentiation is computed once per second, source by source: all synapses of a
source see the same spikes, so the potentiation of a target spike at t through a synapse with delay d is a
function of t - d only. This function fits in the L1 cache. Each synapse sums its values at the few spikes of
its target. No index of incoming synapses is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import STEPS_PER_SECOND
from spikelens.numerics import DRIFT
from spikelens.simulation.kernel import Projection, delay_of, target_of


@compiled
def sort_by_neuron(ids: NDArray[np.int32], times: NDArray[np.int16], n_neurons: int) -> tuple[NDArray[np.uint32], NDArray[np.int16]]:
    """Sort spikes by neuron and time.

    Parameters
    ----------
    ids, times : (n_spikes,)
        Neuron and time of each spike, ordered by time.

    Returns
    -------
    first : (n_neurons + 1,) uint32
        The spikes of neuron i are at times[first[i]:first[i + 1]].
    times : (n_spikes,) int16
    """
    first = np.zeros(n_neurons + 1, np.uint32)
    for i in ids:
        first[np.uint64(i) + np.uint64(1)] += np.uint32(1)
    for i in range(n_neurons):
        first[i + 1] += first[i]
    place = first[:-1].copy()
    sorted_times = np.empty(len(ids), np.int16)
    for k in range(len(ids)):
        i = np.uint64(ids[k])
        sorted_times[place[i]] = times[k]
        place[i] += np.uint32(1)
    return first, sorted_times


@compiled
def end_second(
    plastic: Projection,
    source_first: NDArray[np.uint32],
    source_times: NDArray[np.int16],
    target_first: NDArray[np.uint32],
    target_times: NDArray[np.int16],
    ltp: NDArray[np.int32],
    max_delay: int,
    weight_max: int,
    weight_sum: NDArray[np.int64],
) -> None:
    """Add the potentiation of a second to the pending weight changes, then update the weights.

    For each plastic synapse: dw += LTP[t - q] for each spike of the target; W = min(W_max, max(0, W + drift +
    dw)); dw = floor(9 dw / 10).

    Parameters
    ----------
    source_first, source_times
        Spikes of all neurons since max_delay ms before the second, and the last spike of each neuron before
        that; as returned by `sort_by_neuron` [ms from the start of the second].
    target_first, target_times
        Spikes of the rank's neurons in the second.
    ltp : (n_lags,) int32
        Potentiation by lag, zero at the last lag [2^-16 mV].
    weight_sum : (n_synapses,) int64
        The old weight is added to it [2^-16 mV]; empty if no sum is needed.
    """
    three = np.uint64(3)
    synapses = plastic.synapses
    gain = np.zeros(max_delay + STEPS_PER_SECOND, np.int32)
    for j in range(len(plastic.first) - 1):
        start, end = np.uint64(plastic.first[j]), np.uint64(plastic.first[j + 1])
        if start == end:
            continue
        spiked = _tabulate(gain, source_times[source_first[j] : source_first[j + 1]], ltp, max_delay)
        for k in range(start, end):
            change = synapses[k * three + np.uint64(2)]
            if spiked:
                address = synapses[k * three]
                shift = np.int64(max_delay) - np.int64(delay_of(address))
                i = target_of(address)
                for q in range(np.uint64(target_first[i]), np.uint64(target_first[i + np.uint64(1)])):
                    change += gain[np.uint64(np.int64(target_times[q]) + shift)]
            weight = synapses[k * three + np.uint64(1)]
            if len(weight_sum):
                weight_sum[k] += weight
            synapses[k * three + np.uint64(1)] = min(weight_max, max(0, weight + DRIFT + change))
            synapses[k * three + np.uint64(2)] = (9 * np.int64(change)) // 10


@compiled
def _tabulate(gain: NDArray[np.int32], times: NDArray[np.int16], ltp: NDArray[np.int32], max_delay: int) -> bool:
    """Set gain[x + max_delay] = LTP[x - q], q: the source's last spike at or before x; False if none.

    gain : (max_delay + 1000,), for times x from -max_delay to 999 [ms from the start of the second].
    """
    if len(times) == 0:
        return False
    gain[:] = 0
    for k in range(len(times)):
        spike = int(times[k]) + max_delay
        end = min(len(gain), spike + len(ltp))
        if k + 1 < len(times):
            end = min(end, int(times[k + 1]) + max_delay)
        begin = max(spike, 0)
        for x in range(begin, end):
            gain[np.uint64(x)] = ltp[np.uint64(x - spike)]
    return True
