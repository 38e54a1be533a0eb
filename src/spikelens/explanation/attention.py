"""What is read off a Temporal Fusion Transformer's attention: how alike two neurons' is, and where in the past one neuron's lies.

Attention is (window, neuron, decoder step, head, encoder step). The weights over encoder steps and the decoder steps so far add up
to 1, so that a neuron's plain mean says only how the past is weighed against the steps being forecast; hence its place and spread
in the past are looked at too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def correlation(parts: Iterable[NDArray[Any]]) -> Floats:
    """Pearson's correlation between neurons of their concatenated values, (n, n); 0 where a neuron's values are constant.

    Parameters
    ----------
    parts : each (n_neurons, n_values)
        Pieces of every neuron's values; one is held in float64 at a time. Values are taken relative to the first piece's mean,
        so that no digits are lost to it.
    """
    products: Floats | float = 0.0
    total: Floats | float = 0.0
    n_values, origin = 0, None
    largest: Floats | float = 0.0
    for part in parts:
        values = np.asarray(part, np.float64)
        origin = values.mean(1, keepdims=True) if origin is None else origin
        largest = np.maximum(largest, np.abs(values).max(1))
        shifted = values - origin
        products = products + shifted @ shifted.T
        total = total + shifted.sum(1)
        n_values += values.shape[1]
    covariance = np.asarray(products) / n_values - np.outer(total, total) / n_values**2
    deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    # float32's rounding is no variation
    varies = deviation > 1e-6 * largest
    scale = np.where(varies, deviation, 1.0)
    return np.clip(np.where(np.outer(varies, varies), covariance / np.outer(scale, scale), 0.0), -1.0, 1.0)


def mean_correlation(mean_attention: NDArray[Any]) -> Floats:
    """Correlation between neurons of their attention averaged over windows (neuron, decoder step, head, encoder step)."""
    return correlation([mean_attention.reshape(len(mean_attention), -1)])


def aligned_correlation(attention: NDArray[Any]) -> Floats:
    """Correlation between neurons of their attention in the same windows (window, neuron, decoder step, head, encoder step)."""
    return correlation(_by_window(attention))


def _by_window(attention: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for window in attention:
        yield window.reshape(len(window), -1)


def neuron_quantities(mean_attention: NDArray[Any]) -> dict[str, Floats]:
    """Each neuron's attention in a few numbers, means over decoder steps and heads.

    Parameters
    ----------
    mean_attention : (n_neurons, n_decoder_steps, n_heads, n_encoder_steps)
        Mean over windows.

    Returns
    -------
    dict of (n_neurons,)
        attention_on_history: sum over encoder steps, that is n_encoder_steps times the plain mean (what is missing to 1 lies on the
        steps being forecast); attention_lag: mean distance back from the forecast's start, weighted by attention [samples];
        attention_entropy: spread over the encoder steps, 0 all on one, 1 even on all; attention_latest: share of the last one.
    """
    attention = np.asarray(mean_attention, np.float64)
    n_past = attention.shape[-1]
    on_history = attention.sum(-1)
    share = attention / np.maximum(on_history[..., None], np.finfo(np.float64).tiny)
    logs = np.log(np.where(share > 0, share, 1.0))
    by_neuron = {
        "attention_on_history": on_history,
        "attention_lag": share @ np.arange(n_past, 0, -1, dtype=np.float64),
        "attention_entropy": -(share * logs).sum(-1) / np.log(max(n_past, 2)),
        "attention_latest": share[..., -1],
    }
    return {name: values.mean(axis=(1, 2)) for name, values in by_neuron.items()}
