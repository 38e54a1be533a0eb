"""The report in a real browser: the answer on the first screen, nothing cut or overlapping, readable for everybody."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from test_report import synthetic_run

from spikelens.places import place_of
from spikelens.report.contents import PAGE
from spikelens.report.run import make_report

SCREENS = [(1280, 585), (1366, 650), (1440, 780), (1920, 950), (390, 844)]
MAX_BYTES = 6_000_000


def chromium() -> str:
    """The browser of the machine; on Debian and Ubuntu, root installs it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", *command], env=environment, capture_output=True, timeout=600)
        found = shutil.which("chromium")
    if found is None:
        if "CI" in os.environ or "SPIKELENS_REQUIRE_SLURM" in os.environ:
            pytest.fail("chromium is not installed and could not be installed")
        pytest.skip("NOT TESTED: chromium is not installed; on Debian: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    run, _ = synthetic_run(tmp_path_factory.mktemp("page"))
    make_report(run)
    return place_of(run, "report") / PAGE


def opened(browser: Browser, report: Path, width: int = 1366, height: int = 650, **options) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    return page


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_answer_and_its_number_are_on_the_first_screen(browser, report, width, height):
    page = opened(browser, report, width, height)
    for part in (".question", ".short", ".evidence"):
        box = page.locator(part).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= height, part
    assert "AUROC 0." in page.locator(".evidence").inner_text()
    if width >= 1366:  # the figure and the facts, too
        for part in (".first figure img", ".facts"):
            box = page.locator(part).bounding_box()
            assert box["y"] + box["height"] <= height, part
    page.close()


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_no_image_is_cut_and_the_page_does_not_scroll_sideways(browser, report, width, height):
    page = opened(browser, report, width, height)
    found = page.evaluate(
        "[...document.images].map(i => ({alt: i.alt, shown: i.naturalWidth > 0, left: i.getBoundingClientRect().left,"
        " right: i.getBoundingClientRect().right, ratio: i.width / i.height / (i.naturalWidth / i.naturalHeight)}))"
    )
    assert len(found) > 8
    assert [image["alt"] for image in found if not image["shown"]] == []
    assert [image["alt"] for image in found if image["left"] < 0 or image["right"] > width] == []
    assert [image["alt"] for image in found if not 0.97 < image["ratio"] < 1.03] == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    page.close()


OVERLAPS = """() => {
  const boxes = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(node.parentElement.tagName)) continue;
    if (node.parentElement.closest(".scroll, pre") || !node.parentElement.checkVisibility()) continue;  // these scroll, or are folded
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects())
      if (rect.width > 1 && rect.height > 1) boxes.push([node.textContent.trim().slice(0, 40), rect]);
  }
  const images = [...document.images].map((image) => [image.alt, image.getBoundingClientRect()]);
  const all = [...boxes, ...images];
  const found = [];
  for (let i = 0; i < all.length; i++)
    for (let j = i + 1; j < all.length; j++) {
      const [a, b] = [all[i][1], all[j][1]];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 2 && high > 6) found.push([all[i][0], all[j][0]]);
    }
  return [found, boxes.length];
}"""


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_no_text_overlaps_other_text_or_an_image(browser, report, width, height):
    page = opened(browser, report, width, height)
    overlaps, n_boxes = page.evaluate(OVERLAPS)
    assert overlaps == []
    assert n_boxes > 50
    page.close()


@pytest.mark.parametrize(("width", "height"), [(1366, 650), (390, 844)])
def test_accessibility_meets_wcag_aa(browser, report, width, height):
    page = opened(browser, report, width, height)
    results = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in results.response["violations"]] == []
    assert any(one["id"] == "color-contrast" for one in results.response["passes"])
    page.close()


def test_without_javascript_the_page_shows_everything(browser, report):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator("figure img").count() > 8
    assert page.locator("table").count() > 5
    assert page.locator(".filter").count() == 0
    assert page.locator("nav a").first.is_visible()
    context.close()


def test_tables_are_sorted_and_filtered(browser, report):
    page = opened(browser, report)
    table = page.locator("table", has_text="Connectivity: all scores by edge class (")
    column = [cell.inner_text() for cell in table.locator("th").all()].index("AUROC")
    for order in (sorted, lambda values: sorted(values, reverse=True)):
        table.locator("th button", has_text="AUROC").click()
        shown = [float(cell.inner_text()) for cell in table.locator(f"tbody td:nth-child({column + 1})").all()]
        assert shown == order(shown)
        assert len(set(shown)) > 3
    rows = table.locator("tbody tr")
    page.get_by_label("Filter rows: Connectivity: all scores by edge class (").fill("rate correlation")
    visible = [row.inner_text() for row in rows.all() if row.is_visible()]
    assert 0 < len(visible) < rows.count()
    assert all("rate correlation" in text for text in visible)
    page.close()


def test_a_figure_is_enlarged_and_zoomed(browser, report):
    page = opened(browser, report)
    page.locator("#raster_and_rates img").click()
    image = page.locator("dialog.zoom img")
    before = image.bounding_box()
    assert before["height"] <= 651
    page.mouse.move(700, 300)
    page.mouse.wheel(0, -400)
    page.wait_for_function("document.querySelector('dialog.zoom img').getBoundingClientRect().width > " + str(2 * before["width"]))
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('dialog.zoom') === null")
    page.close()


def test_the_pointer_reads_values_off_a_figure(browser, report):
    """At the left end of the raster's time axis stands its start, and at the right end its end; names where an axis has names."""
    page = opened(browser, report)
    image = page.locator("#raster_and_rates img")
    image.scroll_into_view_if_needed()
    frame = json.loads(image.get_attribute("data-frames"))[0]
    place, (left, top, right, bottom) = image.bounding_box(), frame["box"]
    shown = page.locator("#raster_and_rates output")
    assert not shown.is_visible()
    for at, end in zip((left, right), frame["x"]["ends"], strict=True):
        inwards = 0.002 if at == left else -0.002
        page.mouse.move(place["x"] + (at + inwards) * place["width"], place["y"] + (top + bottom) / 2 * place["height"])
        value = re.search(r"time \[s\]: (-?[\d.]+)", shown.text_content())[1]
        assert float(value) == pytest.approx(end, abs=0.02)
    page.mouse.move(place["x"] + 1, place["y"] + 1)
    assert not shown.is_visible()
    page.locator("#scores img").hover(position={"x": 250, "y": 100})
    assert re.search("AUROC .*: 0[.][0-9]+, [a-z]", page.locator("#scores output").text_content())
    page.close()


def test_the_page_is_small_enough_to_send(report):
    assert report.stat().st_size < MAX_BYTES


def test_every_figure_is_on_the_page_once_besides_the_first_screen(report, browser):
    page = opened(browser, report)
    ids = [figure.get_attribute("id") for figure in page.locator("figure").all()]
    assert len(ids) == len(set(ids))
    page.close()
