"""Random numbers match the published generator, and depend only on seed, stream, identity and counter."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from spikelens.random import below, philox, uniform, words

ONES = 0xFFFFFFFF
WORD = st.integers(0, ONES)

KNOWN_ANSWERS = {
    # Random123's kat_vectors, philox4x32 with 10 rounds: (counter, key, result)
    "zeros": ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    "ones": ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    "pi": (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
}


@nb.njit
def draws(seed: int, stream: int, n: int) -> NDArray[np.uint32]:
    """The four words for each of n identities at counter 0, (n, 4) uint32."""
    out = np.empty((n, 4), dtype=np.uint32)
    for identity in range(n):
        out[identity, 0], out[identity, 1], out[identity, 2], out[identity, 3] = words(seed, stream, identity, 0)
    return out


@nb.njit
def indices(drawn: NDArray[np.uint32], n: int) -> NDArray[np.int64]:
    out = np.empty(drawn.size, dtype=np.int64)
    for i in range(drawn.size):
        out[i] = below(drawn[i], n)
    return out


@nb.njit
def fractions(drawn: NDArray[np.uint32]) -> NDArray[np.float64]:
    out = np.empty(len(drawn), dtype=np.float64)
    for i in range(len(drawn)):
        out[i] = uniform(drawn[i, 0], drawn[i, 1])
    return out


@pytest.mark.parametrize("case", KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(case: str) -> None:
    counter, key, expected = KNOWN_ANSWERS[case]
    assert tuple(int(word) for word in philox(*map(np.uint32, counter + key))) == expected


def test_words_place_seed_stream_identity_and_counter_as_the_generator_expects() -> None:
    seed, stream, identity, counter = 0x299F31D0A4093822, 0x03707344, 0x13198A2E85A308D3, 0x243F6A88
    assert tuple(int(word) for word in words(seed, stream, identity, counter)) == KNOWN_ANSWERS["pi"][2]


def test_each_of_seed_stream_identity_and_counter_changes_every_word() -> None:
    base = np.array(words(1, 2, 3, 4))
    for other in (
        words(2, 2, 3, 4),
        words(1, 3, 3, 4),
        words(1, 2, 4, 4),
        words(1, 2, 3, 5),
        words(1 + 2**40, 2, 3, 4),
        words(1, 2, 3 + 2**40, 4),
    ):
        assert not np.any(base == np.array(other))


@given(word=WORD, n=st.integers(1, 2**31))
def test_below_stays_below_and_keeps_the_order_of_words(word: int, n: int) -> None:
    index = below(np.uint32(word), n)
    assert index == word * n >> 32
    assert 0 <= index < n


@pytest.mark.parametrize("n", [2, 20, 1000])
def test_below_is_uniform(n: int) -> None:
    counts = np.bincount(indices(draws(7, 1, 50_000).ravel(), n), minlength=n)
    assert len(counts) == n
    assert stats.chisquare(counts).pvalue > 1e-3


@given(high=WORD, low=WORD)
def test_uniform_is_above_0_and_at_most_1(high: int, low: int) -> None:
    assert 0 < uniform(np.uint32(high), np.uint32(low)) <= 1


def test_uniform_reaches_both_ends_of_its_range() -> None:
    assert uniform(np.uint32(0), np.uint32(0)) == 2.0**-53
    assert uniform(np.uint32(ONES), np.uint32(ONES)) == 1.0


def test_uniform_is_uniform_and_words_are_independent() -> None:
    drawn = draws(3, 2, 50_000)
    assert stats.kstest(fractions(drawn), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(drawn.astype(np.float64), rowvar=False)[np.triu_indices(4, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(len(drawn))
