"""Building a block of the network: the synapses onto its neurons, their statistics, and the shards that hold them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import MAX_DELAY_MS, MAX_WEIGHT_MV, Connection, Network, RunConfig, connection_probability
from spikelens.errors import NetworkError
from spikelens.network import distributions
from spikelens.network.connect import Drawn, draw_connection
from spikelens.network.distributions import Distribution, draw
from spikelens.random import STREAM_DELAYS, STREAM_WEIGHTS
from spikelens.recording.synapses import Synapses
from spikelens.stores import UNITS_PER_MV, block_layout, ensure, layout, write_shard
from spikelens.tables import read_table, refuse_rows

log = logging.getLogger(__name__)

EDGE_COLUMNS = {"source": int, "target": int, "delay_ms": int, "weight_mv": float, "plastic": bool}
MAX_WEIGHT_SUM = MAX_WEIGHT_MV * UNITS_PER_MV
"""Weights onto a target must add up to less than this, so that its input fits in 32 bits."""
_NEARLY_ALL = 0.9
"""Where so many neurons have an edge, one without any is a surprise."""


def build_blocks(run: RunConfig, blocks: Iterable[int]) -> None:
    """Build blocks of the network and write their shards.

    Raises
    ------
    NetworkError
        If the edge table has a bad row, or the weights onto a neuron leave the integer range.
    """
    ensure(layout(run, "network"))
    edges = None if run.network.edges is None else read_edges(run)
    if edges is not None and 0 in (blocks := list(blocks)):  # each block's job reads the table; one tells what is odd about it
        warn_of_oddities(run, edges)
    for block in blocks:
        synapses = drawn_synapses(run, block) if edges is None else edges_onto(edges, *run.block_range(block))
        check_weight_sums(run, synapses, block)
        write_block(run, block, synapses)
        log.info("network: block %d of %d, %d synapses", block, run.n_blocks, len(synapses))


def drawn_synapses(run: RunConfig, block: int) -> Synapses:
    """Draw the synapses onto a block's neurons by the connection rules."""
    network = run.network
    first, end = run.block_range(block)
    parts: list[_Part] = []
    for number, (key, connection) in enumerate(network.connections.items()):
        sources, targets = (run.populations[name] for name in key.split("->"))
        within = max(first, targets[0]), min(end, targets[1])
        if within[0] < within[1]:
            probability = connection_probability(network, key) if connection.rule == "bernoulli" else 0.0
            drawn = draw_connection(connection, number, network.seed, probability, sources, targets, within)
            parts.append(_Part(number, connection, sources, within, drawn))
    return _joined(network, parts, first, end)


@dataclass(frozen=True)
class _Part:
    """What one connection adds to a block."""

    number: int
    connection: Connection
    sources: tuple[int, int]
    within: tuple[int, int]
    drawn: Drawn


def _joined(network: Network, parts: list[_Part], first: int, end: int) -> Synapses:
    """Join what the connections add to the neurons [first, end), ordered by target and source, with weights and delays.

    Sources of different connections onto a target are of different populations, which are ranges of ids: taken in the order of
    these, they need no sorting.
    """
    start = np.zeros(end - first, np.int64)
    for part in parts:
        start[part.within[0] - first : part.within[1] - first] += part.drawn.in_degree
    n = int(start.sum())
    start = np.cumsum(start) - start
    source, target, delay = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8)
    weight, plastic = np.empty(n, np.int32), np.empty(n, np.bool_)
    parts.sort(key=lambda part: part.sources, reverse=True)
    while parts:  # a part's memory is free again once it is placed
        part = parts.pop()
        _place(
            part.within[0],
            start[part.within[0] - first : part.within[1] - first],
            part.drawn.in_degree,
            part.drawn.source,
            part.drawn.delay,
            distributions.delays(part.connection),
            distributions.weights(network, part.connection),
            part.connection.plastic,
            network.seed,
            part.number,
            source,
            target,
            delay,
            weight,
            plastic,
        )
    return Synapses(source, target, delay, weight, plastic)


@compiled
def _place(
    first: int,
    start: NDArray[np.int64],
    in_degree: NDArray[np.int32],
    drawn_source: NDArray[np.int32],
    drawn_delay: NDArray[np.uint8],
    delays: Distribution,
    weights: Distribution,
    is_plastic: bool,
    seed: int,
    number: int,
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
    weight: NDArray[np.int32],
    plastic: NDArray[np.bool_],
) -> None:
    """Write the synapses of connection `number` onto the neurons from `first` on to the places from `start` on, and move that on."""
    n = 0
    for i in range(len(in_degree)):
        for k in range(start[i], start[i] + in_degree[i]):
            j = drawn_source[n]
            source[k], target[k] = j, first + i
            if len(drawn_delay):
                delay[k] = drawn_delay[n]
            else:
                delay[k] = draw(delays, seed, (STREAM_DELAYS << 16) + number, j, first + i)
            weight[k] = draw(weights, seed, (STREAM_WEIGHTS << 16) + number, j, first + i)
            plastic[k] = is_plastic
            n += 1
        start[i] += in_degree[i]


def read_edges(run: RunConfig) -> Synapses:
    """Read and check the user's edge table, ordered by target, source, delay.

    Raises
    ------
    NetworkError
        Naming the row and the reason: unknown neuron, delay or weight out of range, a neuron with an edge onto itself, duplicate edge.
    """
    path = run.network.edges
    assert path is not None
    table = read_table(path, EDGE_COLUMNS)
    _check_edges(path, table, run.network)
    source, target, delay = (table.pop(name) for name in ("source", "target", "delay_ms"))
    # one key instead of three, 256 for a delay: MAX_TABLE_NEURONS keeps it within 64 bits
    key = ((target * run.network.neurons + source).view(np.uint64) << np.uint64(8)) | delay.view(np.uint64)
    order = np.argsort(key)
    key = key[order]
    if (same := np.flatnonzero(key[1:] == key[:-1])).size:
        row = int(np.maximum(order[same], order[same + 1]).min())
        edge = int(target[row]), int(source[row]), int(delay[row])
        raise NetworkError(f"{path}, row {row}: {edge}, expected each edge (target, source, delay) once; add the weights of such edges up")
    del key
    return Synapses(
        source.astype(np.int32)[order],
        target.astype(np.int32)[order],
        delay.astype(np.uint8)[order],
        np.rint(table["weight_mv"] * UNITS_PER_MV).astype(np.int32)[order],
        table["plastic"][order],
    )


def _check_edges(path: str, table: dict[str, NDArray[Any]], network: Network) -> None:
    """Refuse the first row of an edge table that cannot be, whatever the others are."""
    for name in ("source", "target"):
        ids = table[name]
        from_1 = "; do ids count from 1 here?" if ids.size and ids.min() > 0 and ids.max() == network.neurons else ""
        refuse_rows(path, (ids < 0) | (ids >= network.neurons), ids, f"as {name} a neuron id in 0 .. {network.neurons - 1}{from_1}")
    itself = table["source"] == table["target"]
    refuse_rows(path, itself, table["source"], "another target than the source: no neuron connects to itself; leave such edges out")
    delay, weight, plastic = table["delay_ms"], table["weight_mv"], table["plastic"]
    refuse_rows(path, (delay < 1) | (delay > MAX_DELAY_MS), delay, f"a delay of 1 .. {MAX_DELAY_MS} ms")
    refuse_rows(path, np.abs(weight) >= MAX_WEIGHT_MV, weight, f"a weight below {MAX_WEIGHT_MV:,} mV")
    w_max = network.weight_max_mv
    refuse_rows(path, plastic & ((weight < 0) | (weight > w_max)), weight, f"a plastic weight in 0 .. network.weight_max_mv = {w_max}")


def warn_of_oddities(run: RunConfig, edges: Synapses) -> None:
    """Warn of an edge table that can be simulated and is hardly meant so: weights in another unit, ids that count from 1."""
    path, n = run.network.edges, run.network.neurons
    zero = int(np.count_nonzero(edges.weight == 0))
    if zero > len(edges) / 2:
        log.warning(
            "%s: %s of %s weights round to 0 mV; the smallest step is 2^-16 mV: are they in mV?", path, f"{zero:,}", f"{len(edges):,}"
        )
    touched = np.zeros(n, np.bool_)
    touched[edges.source] = touched[edges.target] = True
    others = np.count_nonzero(touched[1:])
    if not touched[0] and others > _NEARLY_ALL * (n - 1):
        log.warning("%s: %s of the other neurons have an edge, and neuron 0 has none: do its ids count from 1?", path, f"{others:,}")


def edges_onto(synapses: Synapses, first: int, end: int) -> Synapses:
    """The synapses onto the neurons [first, end)."""
    part = slice(*np.searchsorted(synapses.target, [first, end]))
    return Synapses(*(getattr(synapses, name)[part] for name in ("source", "target", "delay", "weight", "plastic")))


def check_weight_sums(run: RunConfig, synapses: Synapses, block: int) -> None:
    """Refuse a block in which the weights onto a neuron may add up to more than an int32 holds, plastic ones at their maximum.

    Raises
    ------
    NetworkError
        Naming the neuron and the sum.
    """
    first, end = run.block_range(block)
    w_max = round(run.network.weight_max_mv * UNITS_PER_MV)
    sums = _largest_sums(synapses.target, synapses.weight, synapses.plastic, w_max, first, end - first)
    if sums.max() >= MAX_WEIGHT_SUM:
        raise NetworkError(
            f"neuron {first + int(sums.argmax())}: the weights onto it may add up to {sums.max() / UNITS_PER_MV:.0f} mV; expected less "
            "than 32,768 mV (plastic weights count as network.weight_max_mv); take fewer or weaker synapses"
        )


@compiled
def _largest_sums(
    target: NDArray[np.int32], weight: NDArray[np.int32], plastic: NDArray[np.bool_], w_max: int, first: int, n: int
) -> NDArray[np.int64]:
    """What the sizes of the weights onto each of n neurons may add up to."""
    sums = np.zeros(n, np.int64)
    for k in range(len(target)):
        sums[target[k] - first] += w_max if plastic[k] else abs(np.int64(weight[k]))
    return sums


def write_block(run: RunConfig, block: int, synapses: Synapses) -> None:
    """Write a block's synapses and statistics. A block without synapses keeps one of weight 0, since no file may be empty."""
    first, end = run.block_range(block)
    in_degree, in_weight, by_delay = _statistics(synapses.target, synapses.weight, synapses.delay, first, end - first)
    root = layout(run, "network")
    group = block_layout(run, "network", block, len(synapses))
    ensure(group)
    if not len(synapses):
        synapses = Synapses(
            np.array([first], np.int32), np.array([first], np.int32), np.ones(1, np.uint8), np.zeros(1, np.int32), np.zeros(1, np.bool_)
        )
    for name in group.arrays:
        write_shard(group, name, (0,), getattr(synapses, name))
    write_shard(root, "in_weight", (block,), in_weight)
    write_shard(root, "delay_histogram", (block, 0), by_delay[None])
    # last: the in-degrees tell how many synapses the block has, so they stand only beside complete synapses
    write_shard(root, "in_degree", (block,), in_degree)


@compiled
def _statistics(
    target: NDArray[np.int32], weight: NDArray[np.int32], delay: NDArray[np.uint8], first: int, n: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """In-degree and sum of weights of each of n neurons, and the number of synapses by delay."""
    in_degree, in_weight, by_delay = np.zeros(n, np.int32), np.zeros(n, np.int64), np.zeros(MAX_DELAY_MS + 1, np.int64)
    for k in range(len(target)):
        in_degree[target[k] - first] += 1
        in_weight[target[k] - first] += weight[k]
        by_delay[delay[k]] += 1
    return in_degree, in_weight, by_delay
