"""The features stage: quantities computed from the spikes by the formulas of the paper (traces, rates, causal components).

Three formulas work on a raster of your own, an `xarray.DataArray` (time, neuron): `spike_trace`, `running_rate` and `causal_component`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelens.features.causal import causal_component
    from spikelens.features.rates import running_rate
    from spikelens.features.traces import spike_trace

__all__ = ["causal_component", "running_rate", "spike_trace"]
_MODULES = {"causal_component": "causal", "running_rate": "rates", "spike_trace": "traces"}


def __getattr__(name: str) -> Any:
    """Import a formula when it is first used: their compiled code takes time to load."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
