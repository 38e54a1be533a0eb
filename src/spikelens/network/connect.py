"""Connection rules: draw the sources of a block's neurons, and their delays.

Random numbers are keyed by the connection and by the target neuron (in `outdegree`, by the source neuron). So
blocks are drawn independently, and the network does not depend on the block size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import Connection
from spikelens.network.outdegree import fixed_outdegree
from spikelens.random import STREAM_WIRING, below, uniform, words

_DELAY_COUNTERS = 1 << 31
"""First counter for delays, for rules that draw all sources first."""
_NO_DELAYS = np.empty(0, np.uint8)


@dataclass(frozen=True)
class Drawn:
    """Synapses onto a range of targets, ordered by target and source.

    `delay` is empty if the delays are drawn later by `distributions`.
    """

    in_degree: NDArray[np.int32]
    source: NDArray[np.int32]
    delay: NDArray[np.uint8]


def draw_connection(
    connection: Connection,
    number: int,
    seed: int,
    probability: float,
    sources: tuple[int, int],
    targets: tuple[int, int],
    within: tuple[int, int],
) -> Drawn:
    """Draw the synapses of connection `number` from `sources` onto `within`, a part of its `targets`.

    Ranges of ids are half-open. `probability` is the probability of a pair (bernoulli).
    """
    stream = (STREAM_WIRING << 16) + number
    if connection.rule == "fixed_outdegree":
        assert connection.out_degree is not None
        return Drawn(*fixed_outdegree(seed, stream, sources, targets, within, int(connection.out_degree)), _NO_DELAYS)
    # these rules draw uniform delays themselves; other distributions are drawn afterwards
    own_delays = isinstance(connection.delay_ms, tuple) or connection.delay_ms.distribution == "uniform"
    delays = connection.delay_range if own_delays else (1, 1)
    degree = connection.in_degree if connection.rule == "fixed_indegree" else None
    n_targets, n_sources = within[1] - within[0], sources[1] - sources[0]
    mean = n_targets * (probability * n_sources if degree is None else float(degree))
    capacity = int(mean + 10 * math.sqrt(mean) + 100)
    in_degree = np.empty(n_targets, np.int32)
    while True:
        source, delay = np.empty(capacity, np.int32), np.empty(capacity, np.uint8)
        if degree is None:
            n = _bernoulli_targets(seed, stream, *within, *sources, probability, *delays, in_degree, source, delay)
        else:
            n = _fixed_indegree_targets(seed, stream, *within, *sources, degree, *delays, in_degree, source, delay)
        if n >= 0:
            return Drawn(in_degree, source[:n], delay[:n] if own_delays else _NO_DELAYS)
        capacity *= 2


@compiled
def _bernoulli_targets(
    seed: int,
    stream: int,
    target_first: int,
    target_end: int,
    source_first: int,
    source_end: int,
    p: float,
    delay_first: int,
    delay_last: int,
    in_degree: NDArray[np.int32],
    source: NDArray[np.int32],
    delay: NDArray[np.uint8],
) -> int:
    """Fill the arrays target by target; return the number of synapses, or -1 if they do not fit."""
    n = 0
    for i in range(target_first, target_end):
        added = bernoulli(seed, stream, i, source_first, source_end, p, delay_first, delay_last, source[n:], delay[n:])
        if added < 0:
            return -1
        in_degree[i - target_first] = added
        n += added
    return n


@compiled
def _fixed_indegree_targets(
    seed: int,
    stream: int,
    target_first: int,
    target_end: int,
    source_first: int,
    source_end: int,
    degree: int,
    delay_first: int,
    delay_last: int,
    in_degree: NDArray[np.int32],
    source: NDArray[np.int32],
    delay: NDArray[np.uint8],
) -> int:
    """As `_bernoulli_targets`."""
    chosen = np.zeros((source_end - source_first) // 64 + 1, np.uint64)
    n = 0
    for i in range(target_first, target_end):
        in_degree[i - target_first] = degree
        fixed_indegree(seed, stream, i, source_first, source_end, delay_first, delay_last, chosen, source[n : n + degree], delay[n:])
        n += degree
    return n


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
    """Draw each of the sources [first, end) with probability p, using geometric gaps; no self-connections.

    Sources are written in increasing order to the start of `source`, their delays to `delay`.

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
    delay_first: int,
    delay_last: int,
    chosen: NDArray[np.uint64],
    source: NDArray[np.int32],
    delay: NDArray[np.uint8],
) -> None:
    """Fill `source` with a uniform random subset of [first, end) (Floyd's algorithm); no self-connections.

    Sources are in increasing order, their delays at the start of `delay`. `chosen` has one bit per candidate;
    all bits are 0 before and after the call.
    """
    in_degree = len(source)
    among_sources = first <= target < end
    n_candidates = end - first - among_sources
    for n in range(in_degree):
        last = n_candidates - in_degree + n
        word, _, _, _ = words(seed, stream, target, n)
        candidate = below(word, last + 1)
        if chosen[candidate >> 6] >> np.uint64(candidate & 63) & np.uint64(1):
            candidate = last
        chosen[candidate >> 6] |= np.uint64(1) << np.uint64(candidate & 63)
        source[n] = candidate
    for n in range(in_degree):
        chosen[source[n] >> 6] = 0
        position = first + source[n]
        source[n] = position + (among_sources and position >= target)
    source.sort()
    for n in range(in_degree):
        word, _, _, _ = words(seed, stream, target, _DELAY_COUNTERS + n)
        delay[n] = delay_first + below(word, delay_last - delay_first + 1)
