"""Trivial baselines, and the scores of models and baselines on the same held-out samples in the same units.

R^2 and explained variance are 1 - MSE / (MSE of the training mean): 0 for a model that has learnt only the
mean, negative for a worse one. The reference is the mean over the training range, because a forecaster does
not know the mean over the test range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Scores = dict[str, float | None]


def forecast_targets(values: NDArray[np.float32], starts: NDArray[np.int64], history: int, horizon: int) -> NDArray[np.float32]:
    """True rates after the history of each window, (n_windows, n_series, horizon) [unit of `values`]."""
    targets: NDArray[np.float32] = values[starts[:, None] + history + np.arange(horizon)]
    return targets.transpose(0, 2, 1)


def forecast_baselines(
    values: NDArray[np.float32], starts: NDArray[np.int64], history: int, mean: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Constant forecasts: training mean, last value of the history, mean of the history.

    Each is (n_windows, n_series, 1).
    """
    past = values[starts[:, None] + np.arange(history)]
    return {
        "training_mean": np.broadcast_to(mean, (len(starts), len(mean)))[..., None],
        "persistence": past[:, -1, :, None],
        "history_mean": past.mean(axis=1)[..., None],
    }


def forecast_scores(prediction: NDArray[np.float32], target: NDArray[np.float32], mean: NDArray[np.float32]) -> Scores:
    """MSE [Hz^2], MAE [Hz] and R^2 of forecasts (n_windows, n_series, horizon or 1), pooled over all series.

    `mean` (n_series,) is the mean over the training range.
    """
    error = prediction - target
    mse = _mean_square(error)
    return {"mse": mse, "mae": float(np.mean(np.abs(error), dtype=np.float64)), "r2": _skill(mse, target, mean[:, None])}


def reconstruction_scores(rebuilt: NDArray[np.float32], original: NDArray[np.float32], mean: NDArray[np.float32]) -> Scores:
    """MSE and explained variance of reconstructed sequences (n, steps, n_neurons).

    `mean` (n_neurons,) is the mean over the training sequences.
    """
    mse = _mean_square(rebuilt - original)
    return {"mse": mse, "explained_variance": _skill(mse, original, mean)}


def _skill(mse: float, target: NDArray[np.float32], mean: NDArray[np.float32]) -> float | None:
    """1 - MSE / (MSE of the mean); None if the target always equals the mean."""
    reference = _mean_square(target - mean)
    return 1 - mse / reference if reference > 0 else None


def _mean_square(values: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(values), dtype=np.float64))


def pca_reconstruction(train: NDArray[np.float32], test: NDArray[np.float32], components: int) -> NDArray[np.float32]:
    """Reconstruct test sequences (n, steps, n_neurons) from the leading principal components.

    The components are fitted to the flattened training sequences by randomised SVD with a fixed seed. Their
    number is at most the number of training sequences.
    """
    flat = train.reshape(len(train), -1)
    # explained_variance_ratio_, which is not used, is 0 / 0 if all neurons are silent
    with np.errstate(invalid="ignore"):
        pca = PCA(min(components, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
    rebuilt: NDArray[np.float32] = pca.inverse_transform(pca.transform(test.reshape(len(test), -1)))
    return rebuilt.astype(np.float32, copy=False).reshape(test.shape)
