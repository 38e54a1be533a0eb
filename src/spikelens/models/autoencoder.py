"""LSTM autoencoder: encodes a sequence of all neurons' spike traces in one state and decodes it."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

_ENCODED_AT_ONCE = 256
"""Sequences encoded at a time."""


class SequenceAutoencoder(pl.LightningModule):
    """LSTM encoder -> last state, repeated -> LSTM decoder -> linear read-out.

    Input and output are raw traces. Internally, each neuron's training mean is subtracted and the traces are
    divided by one scale shared by all neurons. The loss is therefore the mean squared error in units of the
    training variance.
    """

    def __init__(self, mean: Tensor, std: Tensor, units: int, learning_rate: float, weight_decay: float) -> None:
        """`mean` (n_neurons,): each neuron's training mean. `std` (1,): the shared standard deviation.

        The other arguments are the options of `LstmAutoencoder`.
        """
        super().__init__()
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        n_neurons = len(mean)
        self.encoder = nn.LSTM(n_neurons, units, batch_first=True)
        self.decoder = nn.LSTM(units, units, batch_first=True)
        self.readout = nn.Linear(units, n_neurons)
        self._start_in_the_linear_range()

    def _start_in_the_linear_range(self) -> None:
        """Initialise the weights so that no gate is saturated and no state is forgotten when training starts.

        PyTorch scales an LSTM's initial weights by the number of units only. With a thousand inputs the gates
        saturate, and the first states would be nearly binary random codes. Forget gates start open
        (Jozefowicz, Zaremba & Sutskever, ICML 2015).
        """
        n_neurons, units = self.readout.out_features, self.readout.in_features
        with torch.no_grad():
            nn.init.uniform_(self.encoder.all_weights[0][0], -1 / n_neurons**0.5, 1 / n_neurons**0.5)
            for lstm in (self.encoder, self.decoder):
                _, _, bias, _ = lstm.all_weights[0]
                bias[units : 2 * units] += 1

    def forward(self, traces: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct traces (n, steps, n_neurons); also return the encoder states (n, steps, units)."""
        rebuilt, states = self._rebuild(self._scaled(traces))
        return rebuilt * self.std + self.mean, states

    def _scaled(self, traces: Tensor) -> Tensor:
        scaled: Tensor = (traces - self.mean) / self.std
        return scaled

    def _rebuild(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        states, (last, _) = self.encoder(scaled)
        code = last[-1][:, None].expand(-1, scaled.shape[1], -1)
        unfolded, _ = self.decoder(code)
        return self.readout(unfolded), states

    def _loss(self, traces: Tensor) -> Tensor:
        scaled = self._scaled(traces)
        return nn.functional.mse_loss(self._rebuild(scaled)[0], scaled)

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Tensor, _: int) -> Tensor:
        return self._loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)


def encode(module: SequenceAutoencoder, sequences: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Reconstruct sequences of traces.

    Parameters
    ----------
    sequences
        (n, steps, n_neurons) traces [1].

    Returns
    -------
    reconstruction
        (n, steps, n_neurons) float32.
    states
        (n, steps, units) float32, the encoder state after each step.
    """
    parts = []
    with torch.inference_mode():
        for batch in torch.split(torch.from_numpy(sequences), _ENCODED_AT_ONCE):
            parts.append([part.cpu().numpy() for part in module(batch.to(module.device))])
    reconstruction, states = (np.concatenate(column) for column in zip(*parts, strict=True))
    return reconstruction, states
