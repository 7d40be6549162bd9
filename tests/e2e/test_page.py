"""The page of kept tokens in a real browser: what it draws is what the trace says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from lab.evaluation.page.examples import Answer, Example
from lab.evaluation.page.picture import DIM, DIMMED  # the README's picture looks the same
from lab.evaluation.page.render import render_page
from lab.evaluation.page.trace import Bools, Tracer
from tests.support.chromium import NAMES, Browser, chromium, find_chromium
from tests.support.settings import reduction

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: {', '.join(NAMES)}")

# A 2 x 2 grid, 3 x 1 with padding and 1 x 3 with padding.
SHOWN = [
    "parquet/samples-00.parquet#13",
    "parquet/samples-01.parquet#7",
    "webdataset/samples-00.tar#000038",
]
METHODS, BUDGETS = ("hired", "uniform", "random"), (0.1, 0.2)
DISTINCT = 60
"""Patches whose clear and dimmed colours differ by more, of 255, can be told apart."""


@dataclass(frozen=True)
class Shown:
    url: str
    examples: list[Example]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Traces of the shipped model; the answers are made up, as their truth is not at issue."""
    tracer, samples = Tracer.load("embedded"), load_samples(SAMPLES)
    settings = [reduction(method=m, token_budget=b) for m in METHODS for b in BUDGETS]
    settings.append(reduction(token_budget=1))
    said = "one long answer " * 8 + "https://example.com/x.png <img src=https://example.com/y.png>"
    answers = tuple(
        Answer(method=one.method, budget=one.token_budget, prediction=said, score=0.5)
        for one in settings
    )
    examples = [
        Example(
            name=name, task="scene_text", question=said, references=(said,), answers=answers,
            trace=tracer(samples[name].image, settings),
        )
        for name in SHOWN
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(render_page(examples, title="Kept tokens"), encoding="utf-8")
    return Shown(path.as_uri(), examples)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM, tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


def cells(path: str, side: int) -> Bools:
    """bool [N]: the squares of an SVG path as `script.js` draws them."""
    mask = np.zeros(side * side, dtype=bool)
    for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path):
        mask[int(y) * side + int(x)] = True
    return mask


FIGURES = """[...document.querySelectorAll('.board:not([hidden]) figure')].map(figure => {
    const board = figure.closest('.board'), box = figure.querySelector('svg').getBoundingClientRect();
    return {
        example: Number(figure.closest('article').dataset.example),
        method: board.dataset.method, p: Number(figure.dataset.p),
        dropped: figure.querySelector('.dropped').getAttribute('d'),
        count: figure.querySelector('.count').textContent,
        label: figure.querySelector('svg').getAttribute('aria-label'),
        box: [box.x + scrollX, box.y + scrollY, box.width],
    };
})"""  # noqa: E501


def check_drawn(browser: Browser, shown: Shown, methods: tuple[str, ...], budget: float) -> None:
    """Each partition on view drops in the page's own tree what it drops in the trace."""
    figures = browser.value(FIGURES)
    assert len(figures) == len(methods) * sum(len(one.trace.partitions) for one in shown.examples)
    for figure in figures:
        one, p = shown.examples[figure["example"]], figure["p"]
        run = ("dense", 1.0) if figure["method"] == "dense" else (figure["method"], budget)
        keep, valid = one.runs[run].keep[p], one.trace.valid[p]
        assert figure["method"] in methods
        np.testing.assert_array_equal(cells(figure["dropped"], one.trace.side), valid & ~keep)
        assert figure["count"] == f"{keep.sum()}/{valid.sum()}"
        assert f": {keep.sum()} of {valid.sum()} patches kept" in figure["label"]


def test_the_page_draws_what_the_trace_says(browser: Browser, shown: Shown) -> None:
    browser.show(shown.url, width=1280)
    check_drawn(browser, shown, ("hired", "uniform"), 0.2)
    browser.show(f"{shown.url}#budget=0.1&method=random,dense", width=1280)
    check_drawn(browser, shown, ("random", "dense"), 0.1)


def test_clicks_and_keys_choose(browser: Browser, shown: Shown) -> None:
    browser.show(shown.url, width=1280)
    browser.click("input[name=budget][value='0.1']")
    check_drawn(browser, shown, ("hired", "uniform"), 0.1)
    browser.click("input[name=method][value=uniform]")
    check_drawn(browser, shown, ("hired",), 0.1)
    browser.value("document.querySelector('input[name=budget]:checked').focus()")
    browser.key("ArrowRight", 39)
    check_drawn(browser, shown, ("hired",), 0.2)
    assert browser.value("location.hash") == "#budget=0.2&method=hired&overlay=kept"


@pytest.mark.parametrize("dark", [False, True])
def test_kept_patches_are_bright_and_dropped_ones_dimmed(
    browser: Browser, shown: Shown, dark: bool
) -> None:
    """Pixels, patch by patch: the middle of each is the image's own or its dimmed copy."""
    browser.show(shown.url, width=1280, dark=dark)
    pixels, told, errors = browser.screenshot().astype(float), 0, []
    for figure in browser.value(FIGURES):
        one, p = shown.examples[figure["example"]], figure["p"]
        keep, valid = one.runs[figure["method"], 0.2].keep[p], one.trace.valid[p]
        for n in np.flatnonzero(valid):
            found = seen(pixels, figure["box"], n, one.trace.side)
            clear = middle(one.trace.partitions[p], n, one.trace.side)
            dimmed = (1 - DIMMED) * clear + DIMMED * np.array(DIM)
            from_clear, from_dimmed = np.abs(found - clear).max(), np.abs(found - dimmed).max()
            errors.append(from_clear if keep[n] else from_dimmed)
            if np.abs(clear - dimmed).max() > DISTINCT:
                assert (from_clear < from_dimmed) == keep[n], (figure, n)
                told += 1
    assert told > 1000 and np.mean(errors) < 5
    luminance = pixels[:20].mean()
    assert luminance < 40 if dark else luminance > 240


def seen(
    pixels: npt.NDArray[np.float64], box: list[float], n: int, side: int
) -> npt.NDArray[np.float64]:
    """Mean colour of the middle half of a patch on the screen."""
    x, y, width = box
    step = width / side
    left, top = x + (n % side + 0.25) * step, y + (n // side + 0.25) * step
    rows = slice(round(top), max(round(top + step / 2), round(top) + 1))
    cols = slice(round(left), max(round(left + step / 2), round(left) + 1))
    return pixels[rows, cols].mean((0, 1))


def middle(partition: npt.NDArray[np.uint8], n: int, side: int) -> npt.NDArray[np.float64]:
    """Mean colour of the middle half of a patch in the partition, uint8 [3, S, S]."""
    size = partition.shape[-1] // side
    row, col = n // side * size + size // 4, n % side * size + size // 4
    return partition[:, row : row + size // 2, col : col + size // 2].mean((1, 2))


def test_attention_is_laid_over(browser: Browser, shown: Shown) -> None:
    views = {}
    for overlay in ("kept", "initial", "final"):
        browser.show(f"{shown.url}#overlay={overlay}&method=hired", width=1280)
        box = browser.value(FIGURES)[0]["box"]
        x, y, width = (round(value) for value in box)
        views[overlay] = browser.screenshot()[y : y + width, x : x + width].astype(float)
    trace = shown.examples[0].trace
    for overlay, attention in (("initial", trace.initial[0]), ("final", trace.final[0])):
        bright = [seen(views[overlay], [0, 0, len(views[overlay])], n, trace.side).mean()
                  for n in np.argsort(attention)]  # fmt: skip
        assert np.mean(bright[-6:]) > np.mean(bright[:6]) + 60
        assert np.abs(views[overlay] - views["kept"]).mean() > 20


def test_the_page_asks_for_nothing_and_has_no_error(browser: Browser, shown: Shown) -> None:
    browser.events.clear()
    browser.show(shown.url, width=1280)
    browser.screenshot()
    asked = {
        parameters["request"]["url"]
        for method, parameters in browser.events
        if method == "Network.requestWillBeSent"
    }
    assert {url for url in asked if not url.startswith("data:image/")} == {shown.url}
    assert len(asked) > 10
    assert not [e for e in browser.events if e[0] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert browser.value("document.documentElement.dataset.errors ?? null") is None


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, shown: Shown, width: int) -> None:
    browser.show(f"{shown.url}#method=hired,uniform,random,dense", width=width)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    hidden = "(box => box.scrollWidth - box.clientWidth)(document.querySelector('.scroll'))"
    assert browser.value(hidden) == 0, "answers are cut"
    check_drawn(browser, shown, (*METHODS, "dense"), 0.2)
