"""Building a block of the network: the synapses onto its neurons, their statistics, and the shards that hold them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spikelens.compiled import compiled
from spikelens.config import MAX_DELAY_MS, RunConfig, connection_probability
from spikelens.errors import NetworkError
from spikelens.network.connect import bernoulli, fixed_indegree
from spikelens.random import STREAM_WIRING
from spikelens.stores import UNITS_PER_MV, block_layout, ensure, layout, write_shard
from spikelens.tables import read_table, refuse_rows

log = logging.getLogger(__name__)

EDGE_COLUMNS = {"source": int, "target": int, "delay_ms": int, "weight_mv": float, "plastic": bool}
MAX_WEIGHT_SUM = 32_768 * UNITS_PER_MV
"""Weights onto a target must add up to less than this, so that its input fits in 32 bits."""


@dataclass(frozen=True)
class Synapses:
    """Synapses ordered by target, source, delay; every array is (n_synapses,).

    Ids are those of the whole network; delays in ms, weights in 2^-16 mV.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    delay: NDArray[np.uint8]
    weight: NDArray[np.int32]
    plastic: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.source)


def build_blocks(run: RunConfig, blocks: Iterable[int]) -> None:
    """Build blocks of the network and write their shards.

    Raises
    ------
    NetworkError
        If the edge table has a bad row, or the weights onto a neuron leave the integer range.
    """
    ensure(layout(run, "network"))
    edges = None if run.network.edges is None else read_edges(run)
    for block in blocks:
        synapses = drawn_synapses(run, block) if edges is None else edges_onto(edges, *run.block_range(block))
        check_weight_sums(run, synapses, block)
        write_block(run, block, synapses)
        log.info("network: block %d of %d, %d synapses", block, run.n_blocks, len(synapses))


def drawn_synapses(run: RunConfig, block: int) -> Synapses:
    """Draw the synapses onto a block's neurons by the connection rules."""
    network = run.network
    first, end = run.block_range(block)
    parts: list[Synapses] = []
    for number, (key, connection) in enumerate(network.connections.items()):
        (source_first, source_end), (target_first, target_end) = (run.populations[name] for name in key.split("->"))
        targets = max(first, target_first), min(end, target_end)
        if targets[0] >= targets[1]:
            continue
        by_degree = connection.rule == "fixed_indegree"
        amount = float(connection.in_degree or 0) if by_degree else connection_probability(network, key)
        source, target, delay = _draw(
            by_degree, network.seed, (STREAM_WIRING << 16) + number, targets, (source_first, source_end), amount, connection.delay_ms
        )
        weight = np.full(len(source), round(connection.weight_mv * UNITS_PER_MV), np.int32)
        parts.append(Synapses(source, target, delay, weight, np.full(len(source), connection.plastic)))
    return in_order(parts)


def _draw(
    by_degree: bool,
    seed: int,
    stream: int,
    targets: tuple[int, int],
    sources: tuple[int, int],
    amount: float,
    delay_ms: tuple[int, int],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]]:
    """Draw the synapses of one connection onto [targets): sources, targets, delays."""
    mean = (targets[1] - targets[0]) * (amount if by_degree else amount * (sources[1] - sources[0]))
    room = int(mean + 10 * math.sqrt(mean) + 100)
    while True:
        source, target, delay = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.uint8)
        n = _draw_targets(by_degree, seed, stream, *targets, *sources, amount, *delay_ms, source, target, delay)
        if n >= 0:
            return source[:n].copy(), target[:n].copy(), delay[:n].copy()
        room *= 2


@compiled
def _draw_targets(
    by_degree: bool,
    seed: int,
    stream: int,
    target_first: int,
    target_end: int,
    source_first: int,
    source_end: int,
    amount: float,
    delay_first: int,
    delay_last: int,
    source: NDArray[np.int32],
    target: NDArray[np.int32],
    delay: NDArray[np.uint8],
) -> int:
    """Fill the arrays target by target; the number of synapses, or -1 if they do not fit."""
    n = 0
    for i in range(target_first, target_end):
        if by_degree:
            added = fixed_indegree(seed, stream, i, source_first, source_end, int(amount), delay_first, delay_last, source[n:], delay[n:])
        else:
            added = bernoulli(seed, stream, i, source_first, source_end, amount, delay_first, delay_last, source[n:], delay[n:])
        if added < 0:
            return -1
        target[n : n + added] = i
        n += added
    return n


def in_order(parts: list[Synapses]) -> Synapses:
    """Join synapses and order them by target, source, delay."""
    if not parts:
        ids, delays = np.empty(0, np.int32), np.empty(0, np.uint8)
        return Synapses(ids, ids, delays, ids, np.empty(0, np.bool_))
    names = ("source", "target", "delay", "weight", "plastic")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    order = np.lexsort((joined["delay"], joined["source"], joined["target"]))
    return Synapses(**{name: values[order] for name, values in joined.items()})


def read_edges(run: RunConfig) -> Synapses:
    """Read and check the user's edge table, ordered by target, source, delay.

    Raises
    ------
    NetworkError
        Naming the row and the reason: unknown neuron, delay or weight out of range, duplicate edge.
    """
    path = run.network.edges
    assert path is not None
    table = read_table(path, EDGE_COLUMNS)
    for name in ("source", "target"):
        ids = table[name]
        refuse_rows(path, (ids < 0) | (ids >= run.network.neurons), ids, f"as {name} a neuron id in 0 .. {run.network.neurons - 1}")
    delay, weight, plastic = table["delay_ms"], table["weight_mv"], table["plastic"]
    refuse_rows(path, (delay < 1) | (delay > MAX_DELAY_MS), delay, f"a delay of 1 .. {MAX_DELAY_MS} ms")
    refuse_rows(path, np.abs(weight) >= 32_768, weight, "a weight below 32,768 mV")
    w_max = run.network.weight_max_mv
    refuse_rows(path, plastic & ((weight < 0) | (weight > w_max)), weight, f"a plastic weight in 0 .. network.weight_max_mv = {w_max}")
    order = np.lexsort((delay, table["source"], table["target"]))
    same = np.zeros(len(order), np.bool_)
    keys = np.stack([table["target"], table["source"], delay])[:, order]
    same[order[1:]] = (keys[:, 1:] == keys[:, :-1]).all(axis=0)
    refuse_rows(path, same, keys[:, np.argsort(order)].T, "each edge (target, source, delay) once")
    return Synapses(
        table["source"][order].astype(np.int32),
        table["target"][order].astype(np.int32),
        delay[order].astype(np.uint8),
        np.rint(weight[order] * UNITS_PER_MV).astype(np.int32),
        plastic[order],
    )


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
    largest = np.where(synapses.plastic, w_max, np.abs(synapses.weight.astype(np.int64)))
    sums = np.bincount(synapses.target - first, weights=largest, minlength=end - first)
    if len(sums) and sums.max() >= MAX_WEIGHT_SUM:
        raise NetworkError(
            f"neuron {first + int(sums.argmax())}: the weights onto it may add up to {sums.max() / UNITS_PER_MV:.0f} mV; expected less "
            "than 32,768 mV (plastic weights count as network.weight_max_mv); take fewer or weaker synapses"
        )


def write_block(run: RunConfig, block: int, synapses: Synapses) -> None:
    """Write a block's synapses and statistics. A block without synapses keeps one of weight 0, since no file may be empty."""
    first, end = run.block_range(block)
    local = synapses.target - first
    root = layout(run, "network")
    group = block_layout(run, "network", block, len(synapses))
    ensure(group, rebuild=True)
    if not len(synapses):
        synapses = Synapses(
            np.array([first], np.int32), np.array([first], np.int32), np.ones(1, np.uint8), np.zeros(1, np.int32), np.zeros(1, np.bool_)
        )
    for name in group.arrays:
        write_shard(group, name, (0,), getattr(synapses, name))
    n = end - first
    write_shard(root, "in_weight", (block,), np.bincount(local, synapses.weight[: len(local)], n).astype(np.int64))
    delays = np.bincount(synapses.delay[: len(local)], minlength=MAX_DELAY_MS + 1).astype(np.int64)
    write_shard(root, "delay_histogram", (block, 0), delays[None])
    # last: the in-degrees tell how many synapses the block has, so they stand only beside complete synapses
    write_shard(root, "in_degree", (block,), np.bincount(local, minlength=n).astype(np.int32))
