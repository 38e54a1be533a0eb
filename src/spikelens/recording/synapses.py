"""Synapses as arrays: as built by the network stage and as read by `recording.wiring`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Synapses:
    """Synapses ordered by target, source, delay; arrays are (n_synapses,).

    Source and target are neuron ids; delays are in ms, weights in 2^-16 mV.
    """

    source: NDArray[np.int32]
    target: NDArray[np.int32]
    delay: NDArray[np.uint8]
    weight: NDArray[np.int32]
    plastic: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.source)
