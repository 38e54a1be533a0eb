"""Trivial predictors that a trained model must beat, and the scores that both get, on the same held-out samples in the same units.

R^2 and explained variance are 1 - MSE / MSE of the training mean: 0 for a model that learned nothing but the mean, below 0 for a
worse one. The reference is the mean over the training range, since the mean over the test range is not known beforehand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

Scores = dict[str, float | None]


def forecast_targets(values: NDArray[np.float32], starts: NDArray[np.int64], history: int, horizon: int) -> NDArray[np.float32]:
    """The rates that windows starting at `starts` are to predict, (n_windows, n_series, horizon) [as values]."""
    targets: NDArray[np.float32] = values[starts[:, None] + history + np.arange(horizon)]
    return targets.transpose(0, 2, 1)


def forecast_baselines(
    values: NDArray[np.float32], starts: NDArray[np.int64], history: int, mean: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Constant forecasts, each (n_windows, n_series, 1): the training mean, the last value seen, the mean of the history."""
    past = values[starts[:, None] + np.arange(history)]
    return {
        "training_mean": np.broadcast_to(mean, (len(starts), len(mean)))[..., None],
        "persistence": past[:, -1, :, None],
        "history_mean": past.mean(axis=1)[..., None],
    }


def forecast_scores(prediction: NDArray[np.float32], target: NDArray[np.float32], mean: NDArray[np.float32]) -> Scores:
    """MSE [Hz^2], MAE [Hz] and R^2 of forecasts (n_windows, n_series, horizon or 1), over all series together.

    `mean`, (n_series,), is that of the training range.
    """
    error = prediction - target
    mse = _mean_square(error)
    return {"mse": mse, "mae": float(np.mean(np.abs(error), dtype=np.float64)), "r2": _skill(mse, target, mean[:, None])}


def reconstruction_scores(rebuilt: NDArray[np.float32], original: NDArray[np.float32], mean: NDArray[np.float32]) -> Scores:
    """MSE and explained variance of rebuilt sequences, (n, steps, n_neurons); `mean`, (n_neurons,), is of the training ones."""
    mse = _mean_square(rebuilt - original)
    return {"mse": mse, "explained_variance": _skill(mse, original, mean)}


def _skill(mse: float, target: NDArray[np.float32], mean: NDArray[np.float32]) -> float | None:
    """1 - MSE / MSE of the mean; None where the target never leaves the mean."""
    reference = _mean_square(target - mean)
    return 1 - mse / reference if reference > 0 else None


def _mean_square(values: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(values), dtype=np.float64))


def pca_reconstruction(train: NDArray[np.float32], test: NDArray[np.float32], components: int) -> NDArray[np.float32]:
    """Rebuild test sequences, (n, steps, n_neurons), from the leading principal components of the flattened training ones.

    The components are found by a randomised method with a fixed seed; there are at most as many as training sequences.
    """
    flat = train.reshape(len(train), -1)
    with np.errstate(invalid="ignore"):  # of silent neurons, the shares of variance, which are not used, are 0 / 0
        pca = PCA(min(components, *flat.shape), svd_solver="randomized", random_state=0).fit(flat)
    rebuilt: NDArray[np.float32] = pca.inverse_transform(pca.transform(test.reshape(len(test), -1)))
    return rebuilt.astype(np.float32, copy=False).reshape(test.shape)
