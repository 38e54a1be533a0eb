"""The figures look as they did: every figure of a small synthetic run is compared with an image in tests/images."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.testing.decorators import remove_ticks_and_titles
from matplotlib.text import Text
from test_report import synthetic_run

from spikelens.config import RunConfig
from spikelens.places import model_folder
from spikelens.report import style
from spikelens.report.contents import figures_of

IMAGES = Path(__file__).parent / "images"
TOLERANCE = 0.7
"""Root mean square difference of the pixels, 0 to 255."""
DPI = 50
FIGURES = (
    "headline",
    "network",
    "raster_and_rates",
    "binary_rates",
    "irregularity",
    "synchrony",
    "cross_correlograms",
    "weights",
    "causal_omega_pairs",
    "causal_omega_synapses",
    "learning",
    "reconstruction_autoencoder",
    "encoder_autoencoder",
    "forecast_tft_population",
    "forecast_tft_neuron",
    "attention_attention",
    "attention_weights_attention",
    "attention_omega_attention",
    "scores",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return synthetic_run(tmp_path_factory.mktemp("images"))[0]


def drawn(run: RunConfig, name: str) -> Figure:
    """A figure without its text, which each release of freetype draws and measures a little differently."""
    with style.styled():
        figure = next(shown for shown in figures_of(run) if shown.name == name).draw(run)
    remove_ticks_and_titles(figure)
    for artist in (*figure.findobj(Text), *figure.findobj(Legend)):
        artist.set_visible(False)
        artist.set_in_layout(False)
    return figure


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.mpl_image_compare(baseline_dir="images", style="default", tolerance=TOLERANCE, savefig_kwargs={"dpi": DPI})
def test_figure(run, name):
    return drawn(run, name)


def test_every_figure_has_an_image(run):
    assert sorted(shown.name for shown in figures_of(run)) == sorted(FIGURES)
    assert sorted(path.name for path in IMAGES.iterdir()) == sorted(f"test_figure_{name}.png" for name in FIGURES)
    assert sum(path.stat().st_size for path in IMAGES.iterdir()) < 1_000_000


def difference(figure: Figure, name: str, folder: Path) -> str | None:
    """Why the figure differs from its image, None if it does not: the comparison of `test_figure`."""
    figure.savefig(folder / "drawn.png", dpi=DPI)
    return compare_images(str(IMAGES / f"test_figure_{name}.png"), str(folder / "drawn.png"), TOLERANCE)


def test_another_drawing_of_text_passes(run, tmp_path):
    with mpl.rc_context({"text.hinting": "none"}):
        assert difference(drawn(run, "attention_omega_attention"), "attention_omega_attention", tmp_path) is None


def test_a_wider_line_is_noticed(run, tmp_path):
    assert difference(drawn(run, "learning"), "learning", tmp_path) is None
    changed = drawn(run, "learning")
    for line in changed.axes[0].lines:
        line.set_linewidth(2 * line.get_linewidth())
    assert "RMS" in difference(changed, "learning", tmp_path)


def test_other_data_are_noticed(run, tmp_path):
    path = model_folder(run, "autoencoder", 1) / "history.jsonl"
    kept = path.read_text()
    rows = [json.loads(line) for line in kept.splitlines()]
    rows[0]["validation_loss"] *= 0.9
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        assert "RMS" in difference(drawn(run, "learning"), "learning", tmp_path)
    finally:
        path.write_text(kept)
