"""Build a block of the network: the synapses onto its neurons, their statistics, and the shards."""

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
from spikelens.layouts import block_layout, layout
from spikelens.network import distributions
from spikelens.network.connect import Drawn, draw_connection
from spikelens.network.distributions import Distribution, draw
from spikelens.numerics import MAX_WEIGHT_SUM, UNITS_PER_MV
from spikelens.random import STREAM_DELAYS, STREAM_WEIGHTS
from spikelens.recording.synapses import Synapses
from spikelens.stores import ensure, write_shard
from spikelens.tables import read_table, refuse_rows

log = logging.getLogger(__name__)

EDGE_COLUMNS = {"source": int, "target": int, "delay_ms": int, "weight_mv": float, "plastic": bool}
"""Columns of the edge table and their types."""
_NEARLY_ALL = 0.9
"""If more than this fraction of the other neurons have an edge, a neuron 0 without edges is suspicious."""


def build_blocks(run: RunConfig, blocks: Iterable[int]) -> None:
    """Build blocks of the network and write their shards.

    Raises
    ------
    NetworkError
        If the edge table has an invalid row, or the weights onto a neuron exceed the integer range.
    """
    ensure(layout(run, "network"))
    edges = None if run.network.edges is None else read_edges(run)
    if edges is not None and 0 in (blocks := list(blocks)):  # every job reads the table; only the job of block 0 warns
        warn_if_implausible(run, edges)
    for block in blocks:
        synapses = drawn_synapses(run, block) if edges is None else edges_onto(edges, *run.block_range(block))
        check_weight_sums(run, synapses, block)
        write_block(run, block, synapses)
        log.info("network: block %d of %d, %d synapses", block, run.n_blocks, len(synapses))


def drawn_synapses(run: RunConfig, block: int) -> Synapses:
    """Draw the synapses onto a block's neurons from the connection rules."""
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
    """The synapses of one connection in a block."""

    number: int
    connection: Connection
    sources: tuple[int, int]
    within: tuple[int, int]
    drawn: Drawn


def _joined(network: Network, parts: list[_Part], first: int, end: int) -> Synapses:
    """Join the synapses of all connections onto the neurons [first, end), and draw weights and delays.

    The result is ordered by target and source. Different connections onto a target have sources in different
    populations, which are ranges of ids. So connections are processed in the order of these ranges, and no
    sort is needed.
    """
    start = np.zeros(end - first, np.int64)
    for part in parts:
        start[part.within[0] - first : part.within[1] - first] += part.drawn.in_degree
    n = int(start.sum())
    start = np.cumsum(start) - start
    source, target, delay = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.uint8)
    weight, plastic = np.empty(n, np.int32), np.empty(n, np.bool_)
    parts.sort(key=lambda part: part.sources, reverse=True)
    while parts:  # pop, so that the memory of a part is freed after use
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
    """Write the synapses of connection `number` onto neurons first, first + 1, ... at indices `start`.

    `start` is then advanced past the written synapses.
    """
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
        With the row and the reason: unknown neuron, delay or weight out of range, self-connection, duplicate
        edge.
    """
    path = run.network.edges
    assert path is not None
    table = read_table(path, EDGE_COLUMNS)
    _check_edges(path, table, run.network)
    source, target, delay = (table.pop(name) for name in ("source", "target", "delay_ms"))
    # one sort key with 8 bits for the delay; MAX_TABLE_NEURONS ensures that it fits in 64 bits
    key = ((target * run.network.neurons + source).view(np.uint64) << np.uint64(8)) | delay.view(np.uint64)
    order = np.argsort(key)
    key = key[order]
    if (same := np.flatnonzero(key[1:] == key[:-1])).size:
        row = int(np.maximum(order[same], order[same + 1]).min())
        edge = int(target[row]), int(source[row]), int(delay[row])
        raise NetworkError(f"{path}, row {row}: duplicate edge (target, source, delay) = {edge}; merge them and add their weights")
    del key
    return Synapses(
        source.astype(np.int32)[order],
        target.astype(np.int32)[order],
        delay.astype(np.uint8)[order],
        np.rint(table["weight_mv"] * UNITS_PER_MV).astype(np.int32)[order],
        table["plastic"][order],
    )


def _check_edges(path: str, table: dict[str, NDArray[Any]], network: Network) -> None:
    """Raise an error for the first row of an edge table that is invalid by itself."""
    for name in ("source", "target"):
        ids = table[name]
        from_1 = "; ids start at 0, are these counted from 1?" if ids.size and ids.min() > 0 and ids.max() == network.neurons else ""
        refuse_rows(path, (ids < 0) | (ids >= network.neurons), ids, f"a neuron id in 0 .. {network.neurons - 1} as {name}{from_1}")
    itself = table["source"] == table["target"]
    refuse_rows(path, itself, table["source"], "a target other than the source; remove self-connections")
    delay, weight, plastic = table["delay_ms"], table["weight_mv"], table["plastic"]
    refuse_rows(path, (delay < 1) | (delay > MAX_DELAY_MS), delay, f"a delay of 1 .. {MAX_DELAY_MS} ms")
    refuse_rows(path, np.abs(weight) >= MAX_WEIGHT_MV, weight, f"|weight| < {MAX_WEIGHT_MV:,} mV")
    w_max = network.weight_max_mv
    refuse_rows(path, plastic & ((weight < 0) | (weight > w_max)), weight, f"a plastic weight in 0 .. network.weight_max_mv = {w_max}")


def warn_if_implausible(run: RunConfig, edges: Synapses) -> None:
    """Warn about a valid but implausible edge table: weights in another unit, or ids that start at 1."""
    path, n = run.network.edges, run.network.neurons
    zero = int(np.count_nonzero(edges.weight == 0))
    if zero > len(edges) / 2:
        log.warning(
            "%s: %s of %s weights round to 0 mV (the resolution is 2^-16 mV); are they in mV?", path, f"{zero:,}", f"{len(edges):,}"
        )
    touched = np.zeros(n, np.bool_)
    touched[edges.source] = touched[edges.target] = True
    others = np.count_nonzero(touched[1:])
    if not touched[0] and others > _NEARLY_ALL * (n - 1):
        log.warning("%s: neuron 0 has no edge, but %s other neurons have; do the ids start at 1?", path, f"{others:,}")


def edges_onto(synapses: Synapses, first: int, end: int) -> Synapses:
    """Return the synapses onto the neurons [first, end)."""
    part = slice(*np.searchsorted(synapses.target, [first, end]))
    return Synapses(*(getattr(synapses, name)[part] for name in ("source", "target", "delay", "weight", "plastic")))


def check_weight_sums(run: RunConfig, synapses: Synapses, block: int) -> None:
    """Raise if weights onto a neuron, plastic ones at their maximum, can add up to more than an int32.

    Raises
    ------
    NetworkError
        With the neuron and the sum.
    """
    first, end = run.block_range(block)
    w_max = round(run.network.weight_max_mv * UNITS_PER_MV)
    sums = _largest_sums(synapses.target, synapses.weight, synapses.plastic, w_max, first, end - first)
    if sums.max() >= MAX_WEIGHT_SUM:
        raise NetworkError(
            f"neuron {first + int(sums.argmax())}: the weights onto it can add up to {sums.max() / UNITS_PER_MV:.0f} mV; expected less "
            "than 32,768 mV (plastic weights count as network.weight_max_mv); use fewer or weaker synapses"
        )


@compiled
def _largest_sums(
    target: NDArray[np.int32], weight: NDArray[np.int32], plastic: NDArray[np.bool_], w_max: int, first: int, n: int
) -> NDArray[np.int64]:
    """Return the largest possible sum of |weight| onto each of n neurons."""
    sums = np.zeros(n, np.int64)
    for k in range(len(target)):
        sums[target[k] - first] += w_max if plastic[k] else abs(np.int64(weight[k]))
    return sums


def write_block(run: RunConfig, block: int, synapses: Synapses) -> None:
    """Write the synapses and statistics of a block.

    A block without synapses stores one synapse with weight 0, since files must not be empty.
    """
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
    # last: in-degrees give the number of synapses, so they must exist only if these are complete
    write_shard(root, "in_degree", (block,), in_degree)


@compiled
def _statistics(
    target: NDArray[np.int32], weight: NDArray[np.int32], delay: NDArray[np.uint8], first: int, n: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Return in-degree and sum of weights of each of n neurons, and the number of synapses per delay."""
    in_degree, in_weight, by_delay = np.zeros(n, np.int32), np.zeros(n, np.int64), np.zeros(MAX_DELAY_MS + 1, np.int64)
    for k in range(len(target)):
        in_degree[target[k] - first] += 1
        in_weight[target[k] - first] += weight[k]
        by_delay[delay[k]] += 1
    return in_degree, in_weight, by_delay
