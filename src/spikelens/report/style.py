"""Style of the figures: colour-blind-safe colours, sizes, and reproducible files.

Colours are those of Okabe and Ito (2008). A population has the same colour in every figure. An edge class has
the colour of its source, lighter for each further target.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator

from spikelens.config import RunConfig

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8A8A8A",
)
_POPULATION_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKS: Mapping[str, Mapping[str, Any]] = {
    "attention": {"color": BLUE, "marker": "o", "label": "attention, trained"},
    "control": {"color": ORANGE, "marker": "s", "label": "control: untrained or shuffled labels"},
    "no model": {"color": GREEN, "marker": "^", "label": "from spikes, no model"},
    "circular": {"color": PURPLE, "marker": "D", "markerfacecolor": "white", "label": "circular: uses the wiring"},
    "synapse": {"color": BLACK, "marker": "P", "label": "pairs with a synapse"},
    "no synapse": {"color": GREY, "marker": "X", "label": "pairs without a synapse"},
    "best epoch": {"color": VERMILION, "marker": "*", "label": "best epoch"},
}
"""The meaning of each marker, the same in every figure. Markers differ in shape as well as in colour."""
SEQUENTIAL = "viridis"
SIGNED = LinearSegmentedColormap.from_list("signed", [VERMILION, "#FFFFFF", BLUE])
"""Diverging colour map: negative (inhibitory) vermilion, positive (excitatory) blue."""

_RC: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib: same glyphs on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 10,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "image.cmap": SEQUENTIAL,
    "svg.fonttype": "path",  # does not depend on the viewer's fonts
    "svg.hashsalt": "spikelens",
}
_DPI = 150
"""Resolution of images and other rasterised parts of a vector figure [dots per inch]."""


def styled() -> Any:
    """Context manager in which figures are drawn and saved."""
    context: Any = {**dict(mpl.rcParamsDefault), **_RC, "backend": "svg"}
    return mpl.rc_context(context)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size [inches]; no display, no global state."""
    return Figure(figsize=(width, height))


def stacked(figure: Figure, above: float, below: float) -> tuple[SubFigure, SubFigure]:
    """Split a figure into two parts with the given ratio of heights."""
    parts: Any = figure.subfigures(2, 1, height_ratios=[above, below])
    return parts[0], parts[1]


class Frame(NamedTuple):
    """One axes of a figure, from which a page reads the values below the pointer."""

    box: tuple[float, ...]
    """Left, top, right and bottom edge, as fractions of the figure's width and height."""
    x: dict[str, Any]
    y: dict[str, Any]
    """Each coordinate: its label, the values at both ends, whether it is logarithmic, and the names of its ticks if it is no number."""


class Drawing(NamedTuple):
    """A drawn figure."""

    svg: bytes
    frames: list[Frame]


def svg_bytes(figure: Figure) -> bytes:
    """The figure as reproducible SVG: without a date, and with numbered clip paths.

    Matplotlib names a clip path by a hash of its corners, which can change between drawings by rounding in
    the layout.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=_DPI, metadata={"Date": None, "Creator": "spikelens"})
    numbers: dict[bytes, bytes] = {}
    return re.sub(
        rb'(?<=id=")p[0-9a-f]{10}(?=")|(?<=url\(#)p[0-9a-f]{10}(?=\))',
        lambda found: numbers.setdefault(found[0], b"clip%d" % len(numbers)),
        buffer.getvalue(),
    )


def frames(figure: Figure) -> list[Frame]:
    """The axes of a drawn figure with named coordinates."""
    found = []
    for axes in figure.get_axes():
        (left, bottom), (right, top) = figure.transFigure.inverted().transform(axes.get_window_extent().get_points())
        edges = (left, 1 - top, right, 1 - bottom)
        box = tuple(round(float(edge), 4) for edge in edges)
        frame = Frame(
            box,
            _coordinate(axes.xaxis, [one.xaxis for one in axes.get_shared_x_axes().get_siblings(axes)]),
            _coordinate(axes.yaxis, [one.yaxis for one in axes.get_shared_y_axes().get_siblings(axes)]),
        )
        if axes.axison and (frame.x["label"] or frame.y["label"]):
            found.append(frame)
    return found


def _coordinate(axis: Axis, shared: Iterable[Axis]) -> dict[str, Any]:
    """A coordinate of one axes; its label can be that of another axes that shares the coordinate."""
    label = axis.get_label_text() or next(filter(None, (other.get_label_text() for other in shared)), "")
    names: list[tuple[float, str]] = []
    if isinstance(axis.get_major_locator(), FixedLocator):
        texts = [tick.get_text() for tick in axis.get_ticklabels()]
        if any(text and not re.fullmatch(r"[\d.\N{MINUS SIGN}]+", text) for text in texts):
            names = [(float(at), text) for at, text in zip(axis.get_ticklocs(), texts, strict=True) if text]
    ends = [float(f"{end:.6g}") for end in axis.get_view_interval()]  # the layout rounds differently from machine to machine
    return {"label": label, "ends": ends, "log": axis.get_scale() == "log", "names": names}


def population_colours(run: RunConfig) -> dict[str, str]:
    """The colour of each population, and of "all"."""
    names = list(run.populations)
    return {"all": BLACK, **{name: _POPULATION_COLOURS[i % len(_POPULATION_COLOURS)] for i, name in enumerate(names)}}


def edge_colours(run: RunConfig) -> dict[str, tuple[float, float, float]]:
    """The colour of each edge class: that of the source, lighter for each further target."""
    targets = list(run.populations)
    colours = population_colours(run)
    return {
        name: lighter(colours[name.split("->")[0]], 0.55 * targets.index(name.split("->")[1]) / max(len(targets) - 1, 1))
        for name in run.edge_classes
    }


def lighter(colour: str, share: float) -> tuple[float, float, float]:
    """Mix a colour with white."""
    red, green, blue = (value + share * (1 - value) for value in to_rgb(colour))
    return red, green, blue


def arrow(edge_class: str) -> str:
    """The name of an edge class with a typographic arrow."""
    return edge_class.replace("->", "\N{RIGHTWARDS ARROW}")


def light_grid(axes: Axes, axis: str = "y") -> None:
    """A grid that does not compete with the data."""
    axes.grid(axis=axis, color="0.9", linewidth=0.6)  # type: ignore[arg-type]


def framed(axes: Axes) -> None:
    """Show all four spines, for images."""
    for spine in axes.spines.values():
        spine.set_visible(True)


def value(number: float, digits: int = 3) -> str:
    """A number with a typographic minus sign."""
    return f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def note(axes: Axes, text: str) -> None:
    """Write in an empty panel why it is empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="0.35", wrap=True)


def upper_limit(values: Any, share: float = 99.5) -> float:
    """The upper limit of a colour scale: a high percentile, so that outliers do not dominate it; never 0."""
    finite = np.asarray(values)[np.isfinite(values)]
    high = float(np.percentile(finite, share)) if finite.size else 0.0
    return high if high > 0 else float(finite.max(initial=0.0)) or 1.0
