"""The section `features`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from spikelens.config.types import CAUSAL_CUTOFF_TAUS, MAX_DELAY_MS, MAX_DENSE_NEURONS, MAX_SHARD_BYTES, Positive, PositiveFloat, Section
from spikelens.errors import Problem

if TYPE_CHECKING:
    from spikelens.config.run import RunConfig


class Features(Section):
    """Quantities computed from the spikes; times are the paper's T_w and tau."""

    step_ms: Annotated[Positive, Field(description="width of the bins in which spikes are counted [ms]")] = 10
    tau_ms: Annotated[PositiveFloat, Field(description="time constant of traces and causal components [ms]")] = 20.0
    omega_window_s: Annotated[
        Positive,
        Field(description="causal components are summed over windows this long [s]; by default 20 s, or the longest part of a segment"),
    ] = 20
    omega_dense: Annotated[bool, Field(description="causal components of all pairs (delay 0), not only of synapses")] = True
    neurons: Annotated[int, Field(ge=0, description="traces are stored for about so many neurons, evenly spaced in every block")] = 20


def check_features(run: RunConfig) -> Iterator[Problem]:
    features = run.features
    if run.simulation.chunk_ms % features.step_ms:
        yield Problem("features.step_ms", features.step_ms, f"expected a divisor of simulation.chunk_ms = {run.simulation.chunk_ms}")
    if run.n_steps % features.step_ms:
        yield Problem("features.step_ms", features.step_ms, f"expected a divisor of the duration, {run.n_steps} ms")
    longest_delay = max((connection.delay_range[1] for connection in run.network.connections.values()), default=MAX_DELAY_MS)
    if CAUSAL_CUTOFF_TAUS * features.tau_ms + longest_delay > run.segment_steps:
        yield Problem(
            "features.tau_ms",
            features.tau_ms,
            f"{CAUSAL_CUTOFF_TAUS} tau and the longest delay, {longest_delay} ms, must fit in a segment, {run.segment_steps} ms",
        )
    if run.simulation.segment_s % features.omega_window_s:
        yield Problem(
            "features.omega_window_s", features.omega_window_s, f"expected a divisor of simulation.segment_s = {run.simulation.segment_s}"
        )
    if features.omega_dense and run.network.neurons > MAX_DENSE_NEURONS:
        yield Problem(
            "features.omega_dense", True, f"all pairs are kept only up to {MAX_DENSE_NEURONS} neurons; set it to false for larger networks"
        )
    yield from _check_feature_shards(run)


def _check_feature_shards(run: RunConfig) -> Iterator[Problem]:
    features, block_size, limit = run.features, run.network.block_size, f"{MAX_SHARD_BYTES // 2**20} MB"
    traced = min(-(-features.neurons // run.n_blocks), block_size)
    if 4 * run.segment_steps * traced > MAX_SHARD_BYTES:
        yield Problem(
            "features.neurons",
            features.neurons,
            f"a block's traces over a segment are over {limit}; take fewer, or a smaller simulation.segment_s",
        )
    n_windows = -(-run.simulation.segment_s // features.omega_window_s)
    if features.omega_dense and 4 * n_windows * run.network.neurons * block_size > MAX_SHARD_BYTES:
        yield Problem(
            "features.omega_window_s",
            features.omega_window_s,
            f"all pairs of a block over a segment are over {limit}; take longer windows, smaller blocks, or omega_dense: false",
        )
