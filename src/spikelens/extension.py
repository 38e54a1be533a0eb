"""Interface for files in `extensions:`: base classes of features, models and methods, layouts of arrays, and spikes.

See docs/extensions.md. Extensions need no other module of this package.
"""

from __future__ import annotations

from spikelens.config.items import Read
from spikelens.errors import Problem
from spikelens.explanation.method import Method, NeuronQuantity, PairScore
from spikelens.features.feature import Feature
from spikelens.models.fitted import Fitted, Setting
from spikelens.models.model import Model, NetworkModel
from spikelens.outputs import feature_output, method_output, model_output
from spikelens.recording.layout import neuron_coordinates, segment_coordinate
from spikelens.recording.spikes import neuron_counts, population_counts, read_spikes
from spikelens.report.contents import Shown
from spikelens.stores import Array, Coordinate, read_array, time_coordinate

__all__ = [
    "Array",
    "Coordinate",
    "Feature",
    "Fitted",
    "Method",
    "Model",
    "NetworkModel",
    "NeuronQuantity",
    "PairScore",
    "Problem",
    "Read",
    "Setting",
    "Shown",
    "feature_output",
    "method_output",
    "model_output",
    "neuron_coordinates",
    "neuron_counts",
    "population_counts",
    "read_array",
    "read_spikes",
    "segment_coordinate",
    "time_coordinate",
]
