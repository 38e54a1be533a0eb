"""The Temporal Fusion Transformer (Lim et al. 2021) on running rates: pytorch-forecasting's v1 network, fed by slicing.

Its inputs are, for every sample of a window, the rate (unknown ahead) and the time step (known ahead), and the identity of the
series. The time step counts from the forecast's start in units of the history, -1 .. horizon / history: it says where in the
window a sample stands and nothing of when in the run, so that the test range, which is later than all training, asks for no
extrapolation and tells nothing of itself.

The network is built by its constructor and its batches are slices of one tensor: the pandas data set that usually stands before
it builds every sample by itself and costs more than the network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_forecasting import RMSE, TemporalFusionTransformer
from torch import Tensor, nn

_FORECAST_AT_ONCE = 2_048
"""Windows forecast at a time."""


class RateForecaster(pl.LightningModule):
    """A TFT that takes and gives rates [Hz]; inside, they are z-scores by each series' training mean and deviation.

    It minimises the squared error, so a forecast is a mean: most neurons are silent in most samples, and their median rate is 0.
    """

    def __init__(
        self,
        mean: Tensor,
        std: Tensor,
        history: int,
        horizon: int,
        hidden_size: int,
        attention_heads: int,
        dropout: float,
        learning_rate: float,
    ) -> None:
        """Take each series' training mean and deviation, (n_series,) [Hz], and the keys of `config.Tft`."""
        super().__init__()
        self.history, self.horizon, self.learning_rate = history, horizon, learning_rate
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("time_step", torch.arange(-history, horizon) / history, persistent=False)
        self.network = _network(len(mean), history, hidden_size, attention_heads, dropout)

    def forward(self, history: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        """Forecast from (n, history) rates [Hz] of the series with indices (n,).

        Returns the forecast (n, horizon) [Hz], and the attention (n, horizon, heads, history) of its steps on the past ones; what
        is missing to a sum of 1 goes to earlier steps of the forecast.
        """
        mean, std = self.mean[series, None], self.std[series, None]
        prediction, attention = self._run_network((history - mean) / std, series)
        return prediction * std + mean, attention

    def _run_network(self, scaled: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        n = len(series)
        time_step = self.time_step.expand(n, -1)
        # columns are those of x_reals; the rate ahead is unknown and never read, a zero holds its place
        known = torch.stack([time_step, nn.functional.pad(scaled, (0, self.horizon))], dim=-1)
        identity = series[:, None, None].expand(-1, self.history + self.horizon, 1)
        output = self.network(
            {
                "encoder_cont": known[:, : self.history],
                "decoder_cont": known[:, self.history :],
                "encoder_cat": identity[:, : self.history],
                "decoder_cat": identity[:, self.history :],
                "encoder_lengths": torch.full((n,), self.history, device=series.device),
                "decoder_lengths": torch.full((n,), self.horizon, device=series.device),
                "target_scale": None,
            }
        )
        return output["prediction"][..., 0], output["encoder_attention"]

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        windows, series = batch
        scaled = (windows - self.mean[series, None]) / self.std[series, None]
        prediction, _ = self._run_network(scaled[:, : self.history], series)
        return nn.functional.mse_loss(prediction, scaled[:, self.history :])

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        return self._loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


def _prediction(output: dict[str, Any]) -> Tensor:
    """The network's output as it is: `RateForecaster` does the scaling."""
    prediction: Tensor = output["prediction"]
    return prediction


def _network(n_series: int, history: int, hidden_size: int, attention_heads: int, dropout: float) -> TemporalFusionTransformer:
    with warnings.catch_warnings():
        # the network keeps its loss among its hyperparameters, and Lightning warns about that
        warnings.filterwarnings("ignore", message=".*is an instance of `nn.Module`.*")
        return TemporalFusionTransformer(
            hidden_size=hidden_size,
            attention_head_size=attention_heads,
            dropout=dropout,
            hidden_continuous_size=min(8, hidden_size),
            max_encoder_length=history,
            output_size=1,
            # the base class wants a metric; the loss is computed here, on z-scores
            loss=RMSE(),
            logging_metrics=nn.ModuleList(),
            log_interval=-1,
            output_transformer=_prediction,
            x_reals=["time_step", "rate"],
            time_varying_reals_encoder=["time_step", "rate"],
            time_varying_reals_decoder=["time_step"],
            x_categoricals=["series"],
            static_categoricals=["series"],
            embedding_sizes={"series": (n_series, min(16, hidden_size))},
        )


def forecast(
    module: RateForecaster, values: NDArray[np.float32], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Forecast every series from the windows that start at the given samples.

    Parameters
    ----------
    values
        (n_samples, n_series) rates [Hz], such as `RateSeries.values`.
    starts
        (n_windows,) first sample of each window's history; the forecast begins `history` samples later.

    Returns
    -------
    prediction
        (n_windows, n_series, horizon) float32 [Hz].
    attention
        (n_windows, n_series, horizon, heads, history) float32, of each forecast step on each past one.
    """
    prediction, attention = (np.concatenate(parts) for parts in zip(*_forecasts(module, values, starts), strict=True))
    shape = (len(starts), values.shape[1])
    return prediction.reshape(*shape, *prediction.shape[1:]), attention.reshape(*shape, *attention.shape[1:])


def predict(module: RateForecaster, values: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """As `forecast`, without keeping the attention: (n_windows, n_series, horizon) float32 [Hz]."""
    prediction = np.concatenate([part for part, _ in _forecasts(module, values, starts)])
    return prediction.reshape(len(starts), values.shape[1], -1)


def _forecasts(
    module: RateForecaster, values: NDArray[np.float32], starts: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield forecast and attention batch by batch, windows outermost."""
    rates = torch.from_numpy(values)
    windows, series = torch.meshgrid(torch.from_numpy(starts), torch.arange(values.shape[1]), indexing="ij")
    past = torch.arange(module.history)
    with torch.inference_mode():
        for start, which in zip(*(torch.split(grid.flatten(), _FORECAST_AT_ONCE) for grid in (windows, series)), strict=True):
            history = rates[start[:, None] + past, which[:, None]]
            prediction, attention = module(history.to(module.device), which.to(module.device))
            yield prediction.cpu().numpy(), attention.cpu().numpy()
