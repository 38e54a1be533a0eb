"""Temporal Fusion Transformer (Lim et al. 2021) on running rates: the v1 network of pytorch-forecasting.

The inputs are the rate (an unknown future input), the time step (a known future input) and the identity of
the series. The time step is relative to the start of the forecast, in units of the history: -1 .. horizon /
history. It encodes the position in the window and not the time in the run. The test range is later than all
training data, so an absolute time would require extrapolation and would identify the test range.

Batches are slices of one tensor. The library's pandas-based TimeSeriesDataSet builds each sample separately,
which costs more than the network itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_forecasting import RMSE, TemporalFusionTransformer
from torch import Tensor, nn

_FORECAST_AT_ONCE = 2_048
"""Windows in one forward pass."""


class RateForecaster(pl.LightningModule):
    """A TFT whose input and output are rates [Hz].

    Internally, rates are z-scored with the training mean and standard deviation of each series. The loss is
    the squared error, so that the forecast is a mean. A median would be useless: most neurons are silent in
    most samples, so that their median rate is 0.
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
        """`mean`, `std` (n_series,): training mean and standard deviation of each series [Hz].

        The other arguments are the options of `Tft`.
        """
        super().__init__()
        self.history, self.horizon, self.learning_rate = history, horizon, learning_rate
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.register_buffer("time_step", torch.arange(-history, horizon) / history, persistent=False)
        self.network = _network(len(mean), history, hidden_size, attention_heads, dropout)

    def forward(self, history: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        """Forecast the series with indices (n,) from their rates (n, history) [Hz].

        Returns the forecast (n, horizon) [Hz] and the attention (n, horizon, heads, history) of its steps to
        the past samples. The attention to past samples sums to less than 1: the rest goes to earlier steps of
        the forecast.
        """
        mean, std = self.mean[series, None], self.std[series, None]
        prediction, attention = self._run_network((history - mean) / std, series)
        return prediction * std + mean, attention

    def _run_network(self, scaled: Tensor, series: Tensor) -> tuple[Tensor, Tensor]:
        n = len(series)
        time_step = self.time_step.expand(n, -1)
        # columns as in x_reals; the future rate is a zero placeholder that is never read
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
    """The raw output of the network: `RateForecaster` does the scaling."""
    prediction: Tensor = output["prediction"]
    return prediction


def _network(n_series: int, history: int, hidden_size: int, attention_heads: int, dropout: float) -> TemporalFusionTransformer:
    with warnings.catch_warnings():
        # Lightning warns because the loss is one of the network's hyperparameters
        warnings.filterwarnings("ignore", message=".*is an instance of `nn.Module`.*")
        return TemporalFusionTransformer(
            hidden_size=hidden_size,
            attention_head_size=attention_heads,
            dropout=dropout,
            hidden_continuous_size=min(8, hidden_size),
            max_encoder_length=history,
            output_size=1,
            # the base class requires a metric; the loss is computed in `RateForecaster`, on z-scores
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
    """Forecast every series for the windows that start at the given samples.

    Parameters
    ----------
    values
        (n_samples, n_series) rates [Hz], such as `RateSeries.values`.
    starts
        (n_windows,) first sample of each window's history; the forecast starts `history` samples later.

    Returns
    -------
    prediction
        (n_windows, n_series, horizon) float32 [Hz].
    attention
        (n_windows, n_series, horizon, heads, history) float32, of each forecast step to each past sample.
    """
    prediction, attention = (np.concatenate(parts) for parts in zip(*_forecasts(module, values, starts), strict=True))
    shape = (len(starts), values.shape[1])
    return prediction.reshape(*shape, *prediction.shape[1:]), attention.reshape(*shape, *attention.shape[1:])


def predict(module: RateForecaster, values: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """`forecast` without the attention: (n_windows, n_series, horizon) float32 [Hz]."""
    prediction = np.concatenate([part for part, _ in _forecasts(module, values, starts)])
    return prediction.reshape(len(starts), values.shape[1], -1)


def one_step_ahead(
    module: RateForecaster, values: NDArray[np.float32], starts: Mapping[str, NDArray[np.int64]], band: tuple[float, float]
) -> dict[str, NDArray[np.float32]]:
    """Forecast each test sample from the history that ends just before it, with a band from the errors in the validation range.

    The network forecasts a mean and no quantiles. As in split conformal prediction (Vovk et al. 2005), the band is the
    forecast plus quantiles of the errors on data that it was not trained on, for each series. It ends at 0, as rates do.

    Parameters
    ----------
    values
        (n_samples, n_series) rates [Hz].
    starts
        First sample of each window's history, by "validation" and "test".
    band
        Lower and upper quantile.

    Returns
    -------
    dict
        step_forecast, step_observed, step_low, step_high: (n_test_windows, n_series) [Hz].
    """
    ahead = {name: predict(module, values, begins)[..., 0] for name, begins in starts.items()}
    target = {name: values[begins + module.history] for name, begins in starts.items()}
    low, high = np.quantile(target["validation"] - ahead["validation"], band, axis=0).astype(np.float32)
    forecast = ahead["test"]
    return {
        "step_forecast": forecast,
        "step_observed": target["test"],
        "step_low": np.maximum(forecast + low, 0),
        "step_high": forecast + high,
    }


def _forecasts(
    module: RateForecaster, values: NDArray[np.float32], starts: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield forecast and attention batch by batch; series vary fastest, windows slowest."""
    rates = torch.from_numpy(values)
    windows, series = torch.meshgrid(torch.from_numpy(starts), torch.arange(values.shape[1]), indexing="ij")
    past = torch.arange(module.history)
    with torch.inference_mode():
        for start, which in zip(*(torch.split(grid.flatten(), _FORECAST_AT_ONCE) for grid in (windows, series)), strict=True):
            history = rates[start[:, None] + past, which[:, None]]
            prediction, attention = module(history.to(module.device), which.to(module.device))
            yield prediction.cpu().numpy(), attention.cpu().numpy()
