"""Statistics of the attention of a Temporal Fusion Transformer.

For pairs: correlation of the attention of two neurons. For single neurons: location and spread of attention
in the past. Attention is (window, neuron, decoder step, head, encoder step). Its weights over the encoder
steps and the earlier decoder steps sum to 1. The plain mean over encoder steps therefore shows only how the
weight is divided between the past and the forecast steps, so that the lag and the entropy are computed as
well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def correlation(parts: Iterable[NDArray[Any]]) -> Floats:
    """Pearson correlation between neurons of their concatenated values, (n, n); 0 where values are constant.

    Parameters
    ----------
    parts : each (n_neurons, n_values)
        Pieces of the values of all neurons; one piece at a time is converted to float64. The mean of the
        first piece is subtracted from all values to avoid cancellation.
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
    # ignore variation within float32 rounding
    varies = deviation > 1e-6 * largest
    scale = np.where(varies, deviation, 1.0)
    return np.clip(np.where(np.outer(varies, varies), covariance / np.outer(scale, scale), 0.0), -1.0, 1.0)


def mean_correlation(mean_attention: NDArray[Any]) -> Floats:
    """Correlation between neurons of their attention, averaged over windows.

    Input (neuron, decoder step, head, encoder step).
    """
    return correlation([mean_attention.reshape(len(mean_attention), -1)])


def aligned_correlation(attention: NDArray[Any]) -> Floats:
    """Correlation between neurons of their attention, window by window.

    Input (window, neuron, decoder step, head, encoder step).
    """
    return correlation(_by_window(attention))


def _by_window(attention: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for window in attention:
        yield window.reshape(len(window), -1)


def neuron_quantities(mean_attention: NDArray[Any]) -> dict[str, Floats]:
    """Summary statistics of each neuron's attention, averaged over decoder steps and heads.

    Parameters
    ----------
    mean_attention : (n_neurons, n_decoder_steps, n_heads, n_encoder_steps)
        Mean over windows.

    Returns
    -------
    dict of (n_neurons,)
        attention_on_history: sum over encoder steps, i.e. n_encoder_steps times the plain mean; the rest to 1
        is attention to earlier forecast steps. attention_lag: attention-weighted mean distance back from the
        start of the forecast [samples]. attention_entropy: entropy over encoder steps, normalised: 0 if all
        attention is on one step, 1 if it is uniform. attention_latest: share of the latest encoder step.
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
