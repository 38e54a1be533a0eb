"""The rule fixed_outdegree: each source has the same number of distinct targets, as in Izhikevich (2006).

The targets of a source are a subset of the whole population, but a block must not draw the targets in other
blocks. So the number of targets is split along a fixed binary tree of ranges: of K targets among n neurons,
the left half gets a hypergeometric number, keyed by seed, connection, source and node. A block descends only
to its own neurons. Nodes with few targets or few neurons are leaves, whose targets are drawn directly. The
tree is the same for all blocks, so the network does not depend on the block size.

Ranges are ranges of candidates: the neurons of the target population in order, without the source itself.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.random import below, uniform, words

_LEAF_TARGETS = 16
"""A node with at most this number of targets is a leaf."""
_LEAF_CANDIDATES = 64
"""A node with at most this number of candidates is a leaf."""


def fixed_outdegree(
    seed: int, stream: int, sources: tuple[int, int], targets: tuple[int, int], within: tuple[int, int], out_degree: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw the synapses from `sources` onto `within`, a part of `targets`; ranges are half-open.

    Returns
    -------
    in_degree : (n_within,) int32
    source : (n_synapses,) int32
        Ordered by target, then source.
    """
    itself = sources == targets
    n_candidates = targets[1] - targets[0] - itself
    mean = (sources[1] - sources[0]) * out_degree * (within[1] - within[0]) / (targets[1] - targets[0])
    capacity = int(mean + 10 * math.sqrt(mean) + out_degree + 100)
    first, end = within[0] - targets[0], within[1] - targets[0]
    while True:
        source, target = np.empty(capacity, np.int32), np.empty(capacity, np.int32)
        n = _draw_sources(seed, stream, *sources, itself, n_candidates, first, end, out_degree, source, target)
        if n >= 0:
            in_degree, ordered = _by_target(source[:n], target[:n], end - first)
            return in_degree, ordered
        capacity *= 2


@compiled
def _draw_sources(
    seed: int,
    stream: int,
    source_first: int,
    source_end: int,
    itself: bool,
    n_candidates: int,
    first: int,
    end: int,
    out_degree: int,
    source: NDArray[np.int32],
    target: NDArray[np.int32],
) -> int:
    """Fill the arrays source by source, with targets relative to `first`.

    Return the number of synapses, or -1 if they might not fit.
    """
    levels = 1
    while n_candidates >> levels:
        levels += 1
    mode_chances = np.zeros((2 * levels, out_degree + 1))
    stack = np.empty((levels + 1, 5), np.int64)
    chosen = np.empty(_LEAF_CANDIDATES, np.int32)
    n = 0
    for j in range(source_first, source_end):
        if n + out_degree > len(target):
            return -1
        # position of the source among the targets, if it is one; ids of later candidates are shifted by 1
        own = j - source_first if itself else end
        part = first - (first > own), end - (end > own)
        n_found = _targets_of(seed, stream, j, n_candidates, *part, out_degree, mode_chances, stack, chosen, target[n:])
        for k in range(n, n + n_found):
            source[k] = j
            target[k] += (target[k] >= own) - first
        n += n_found
    return n


@compiled(error_model="numpy")
def _targets_of(
    seed: int,
    stream: int,
    source: int,
    n_candidates: int,
    first: int,
    end: int,
    out_degree: int,
    mode_chances: NDArray[np.float64],
    stack: NDArray[np.int64],
    chosen: NDArray[np.int32],
    target: NDArray[np.int32],
) -> int:
    """Write a source's targets among the candidates [first, end) in arbitrary order; return their number.

    `stack` contains the nodes to visit: index in the tree (the root is 1, the children of i are 2i and 2i +
    1), level, first candidate, number of candidates, number of targets. `chosen` is a buffer for the targets
    of a leaf, `mode_chances` is a cache.
    """
    n = 0
    depth = _push(stack, 0, 1, 0, 0, n_candidates, out_degree)
    while depth:
        depth -= 1
        node, level, low, size, drawn = stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3], stack[depth, 4]
        if drawn == 0 or low >= end or low + size <= first:
            continue
        identity = node << 32 | source
        if drawn <= _LEAF_TARGETS or size <= _LEAF_CANDIDATES:
            n = _leaf(seed, stream, identity, low, size, drawn, first, end, chosen, target, n)
            continue
        left = size // 2
        # halves differ by at most 1, so a level has nodes of at most two sizes
        row = 2 * level + size - (n_candidates >> level)
        if mode_chances[row, drawn] == 0.0:
            mode_chances[row, drawn] = mode_chance(size, left, drawn)
        a, b, _, _ = words(seed, stream, identity, 0)
        n_left = hypergeometric(uniform(a, b), size, left, drawn, mode_chances[row, drawn])
        depth = _push(stack, depth, 2 * node + 1, level + 1, low + left, size - left, drawn - n_left)
        depth = _push(stack, depth, 2 * node, level + 1, low, left, n_left)
    return n


@compiled(inline="always")
def _push(stack: NDArray[np.int64], depth: int, node: int, level: int, low: int, size: int, drawn: int) -> int:
    stack[depth, 0], stack[depth, 1], stack[depth, 2], stack[depth, 3], stack[depth, 4] = node, level, low, size, drawn
    return depth + 1


@compiled
def _leaf(
    seed: int,
    stream: int,
    identity: int,
    low: int,
    size: int,
    drawn: int,
    first: int,
    end: int,
    chosen: NDArray[np.int32],
    target: NDArray[np.int32],
    n: int,
) -> int:
    """Draw a uniform random subset of [low, low + size) (Floyd's algorithm); keep those in [first, end).

    Append them to the first n entries of `target`; return the new number of entries.
    """
    a = b = c = d = np.uint32(0)
    for k in range(drawn):
        if k % 4 == 0:
            a, b, c, d = words(seed, stream, identity, 1 + k // 4)
        last = size - drawn + k
        candidate = below(a, last + 1)
        a, b, c = b, c, d
        for other in range(k):
            if chosen[other] == candidate:
                candidate = last
                break
        chosen[k] = candidate
        if first <= low + candidate < end:
            target[n] = low + candidate
            n += 1
    return n


@compiled(error_model="numpy")
def hypergeometric(fraction: float, size: int, left: int, drawn: int, mode_chance: float) -> int:
    """Map a uniform number in (0, 1] to a hypergeometric one, by inversion from the mode.

    The result is the number of `drawn` of `size` items that are among the first `left`. Probabilities of
    neighbouring values follow from a ratio (Kachitvichyanukul and Schmeiser 1985). `mode_chance` is the
    result of the function `mode_chance`.
    """
    right = size - left
    mode = (drawn + 1) * (left + 1) // (size + 2)
    lowest, highest = max(0, drawn - right), min(left, drawn)
    rest = fraction - mode_chance
    up = down = mode
    chance_up = chance_down = mode_chance
    while rest > 0.0 and (up < highest or down > lowest):
        if up < highest:
            chance_up *= (left - up) * (drawn - up) / ((up + 1) * (right - drawn + up + 1))
            up += 1
            rest -= chance_up
            if rest <= 0.0:
                return up
        if down > lowest:
            chance_down *= down * (right - drawn + down) / ((left - down + 1) * (drawn - down + 1))
            down -= 1
            rest -= chance_down
            if rest <= 0.0:
                return down
    return mode  # also if rounding errors make the sum of the probabilities less than 1


@compiled(error_model="numpy")
def mode_chance(size: int, left: int, drawn: int) -> float:
    """Return the probability of the mode: 1 over the sum of all probabilities relative to it."""
    right = size - left
    mode = (drawn + 1) * (left + 1) // (size + 2)
    total = chance = 1.0
    for k in range(mode, min(left, drawn)):
        chance *= (left - k) * (drawn - k) / ((k + 1) * (right - drawn + k + 1))
        total += chance
    chance = 1.0
    for k in range(mode, max(0, drawn - right), -1):
        chance *= k * (right - drawn + k) / ((left - k + 1) * (drawn - k + 1))
        total += chance
    return 1.0 / total


@compiled
def _by_target(source: NDArray[np.int32], target: NDArray[np.int32], n_targets: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sort synapses by target with a stable sort; return in-degrees and sources."""
    in_degree = np.zeros(n_targets, np.int32)
    for i in target:
        in_degree[i] += 1
    place = np.empty(n_targets, np.int64)
    n = 0
    for i in range(n_targets):
        place[i] = n
        n += in_degree[i]
    ordered = np.empty(len(source), np.int32)
    for k in range(len(source)):
        ordered[place[target[k]]] = source[k]
        place[target[k]] += 1
    return in_degree, ordered
