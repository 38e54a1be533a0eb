"""Connection rules: which sources a target neuron has, and with what delay.

Every draw is keyed by the target neuron (and the connection), so that a block needs nothing of any other block and the network
does not depend on how it is divided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.random import below, uniform, words

_DELAY_COUNTERS = 1 << 31
"""Counters from here on are for delays of rules that draw all sources first."""


@compiled
def bernoulli(
    seed: int,
    stream: int,
    target: int,
    first: int,
    end: int,
    p: float,
    delay_first: int,
    delay_last: int,
    source: NDArray[np.int32],
    delay: NDArray[np.uint8],
) -> int:
    """Draw each of the sources [first, end) with probability p, by geometric gaps; a neuron never connects to itself.

    Sources are written in increasing order to the front of `source`, their delays beside them.

    Returns
    -------
    int
        The number of synapses, or -1 if they do not fit.
    """
    if p <= 0.0:
        return 0
    per_gap = np.log1p(-p)
    n = 0
    position = first - 1
    counter = 0
    while True:
        high, low, for_delay, _ = words(seed, stream, target, counter)
        counter += 1
        gap = np.log(uniform(high, low)) / per_gap
        if gap >= end - position - 1:
            return n
        position += 1 + int(gap)
        if position == target:
            continue
        if n == len(source):
            return -1
        source[n] = position
        delay[n] = delay_first + below(for_delay, delay_last - delay_first + 1)
        n += 1


@compiled
def fixed_indegree(
    seed: int,
    stream: int,
    target: int,
    first: int,
    end: int,
    in_degree: int,
    delay_first: int,
    delay_last: int,
    source: NDArray[np.int32],
    delay: NDArray[np.uint8],
) -> int:
    """Draw `in_degree` distinct sources of [first, end), all sets alike (Floyd's algorithm); a neuron never connects to itself.

    Output as in `bernoulli`.
    """
    if len(source) < in_degree:
        return -1
    among_sources = first <= target < end
    n_candidates = end - first - among_sources
    chosen = set([-1])  # noqa: C405 - numba infers the type from a list
    for n in range(in_degree):
        last = n_candidates - in_degree + n
        word, _, _, _ = words(seed, stream, target, n)
        candidate = below(word, last + 1)
        if candidate in chosen:
            candidate = last
        chosen.add(candidate)
        position = first + candidate
        source[n] = position + (among_sources and position >= target)
    source[:in_degree].sort()
    for n in range(in_degree):
        word, _, _, _ = words(seed, stream, target, _DELAY_COUNTERS + n)
        delay[n] = delay_first + below(word, delay_last - delay_first + 1)
    return in_degree
