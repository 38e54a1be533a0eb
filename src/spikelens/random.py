"""Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011).

A number is a pure function of (seed, stream, identity, counter). It belongs to a neuron, a drive group or a
synapse, so results do not depend on ranks, blocks or segments. Nothing here has state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spikelens.compiled import compiled

STREAM_WIRING = 1
"""Connection k uses the stream (STREAM_WIRING << 16) + k."""
STREAM_KICKS = 2
STREAM_WEIGHTS = 3
"""The weights of connection k use the stream (STREAM_WEIGHTS << 16) + k."""
STREAM_DELAYS = 4
"""The delays of connection k use the stream (STREAM_DELAYS << 16) + k."""
STREAM_POISSON = 5


@compiled(inline="always")
def philox(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Philox4x32-10: map counter (c0..c3) and key (k0, k1) to four independent words; all uint32."""
    for _ in range(10):
        product0 = np.uint64(0xD2511F53) * np.uint64(c0)
        product1 = np.uint64(0xCD9E8D57) * np.uint64(c2)
        c0 = np.uint32(product1 >> np.uint64(32)) ^ c1 ^ k0
        c2 = np.uint32(product0 >> np.uint64(32)) ^ c3 ^ k1
        c1 = np.uint32(product1)
        c3 = np.uint32(product0)
        k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
        k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
    return c0, c1, c2, c3


@compiled(inline="always")
def words(seed: int, stream: int, identity: int, counter: int) -> Any:
    """Return four random 32-bit words for a seed (64 bits), stream (32), identity (64) and counter (32)."""
    return philox(
        np.uint32(counter),
        np.uint32(identity & 0xFFFFFFFF),
        np.uint32((identity >> 32) & 0xFFFFFFFF),
        np.uint32(stream),
        np.uint32(seed & 0xFFFFFFFF),
        np.uint32((seed >> 32) & 0xFFFFFFFF),
    )


@compiled(inline="always")
def below(word: Any, n: int) -> Any:
    """Map a 32-bit word to an int64 in 0 .. n-1 by multiplication; the relative bias is at most n / 2^32."""
    return np.int64((np.uint64(word) * np.uint64(n)) >> np.uint64(32))


@compiled(inline="always")
def uniform(high: Any, low: Any) -> float:
    """Map two words to a float64 in (0, 1], in steps of 2^-53."""
    bits = (np.uint64(high) << np.uint64(21)) | (np.uint64(low) >> np.uint64(11))
    return (np.float64(bits) + 1.0) * (1.0 / 9007199254740992.0)
