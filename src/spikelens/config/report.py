"""The section `report`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from spikelens.config.types import Positive, Section


class Report(Section):
    """What the figures show."""

    raster_s: Annotated[Positive, Field(description="duration of the raster, at the end of the run [s]")] = 2
    neurons: Annotated[Positive, Field(description="single neurons shown in the figures")] = 4
    window_ms: Annotated[Positive, Field(description="window of the running rates shown [ms]")] = 100
