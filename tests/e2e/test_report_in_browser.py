"""The page of a report in a real browser: fits a phone, is dark where asked, finds, asks for
nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.ledger.identity import load_identity
from pipeline.parts.sink import Sink
from tests.support.chromium import NAMES, Browser, chromium, find_chromium
from tests.support.exports import captioned
from tests.support.reported import add_part, caption, page_of, stats

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: {', '.join(NAMES)}")

LONG = "/".join(["a-path-without-end"] * 20)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a page with everything on it: two outputs, long words, markup in texts."""
    folder = tmp_path_factory.mktemp("report")
    made = captioned(folder)
    captions = list(made.captions().values())
    other, sink = Sink(url=str(folder / "other")), Sink(url=str(made.output))
    identity = load_identity(sink)
    assert identity is not None
    identity.save(other)
    grid = {"width": 800, "height": 400, "num_partitions": 3, "partition_budgets": [9, 40, 20]}
    image = "<img src=https://example.com/x.png onerror='document.title=1'>"
    rows = [row | grid | {"text": f"{image} {row['text']}"} for row in captions]
    add_part(other, "captions", [*rows, caption(LONG, LONG * 3, flags=["loop"])])
    bad = {"image_id": LONG, "shard": LONG, "error_code": "image_corrupt", "error_detail": LONG}
    add_part(other, "quarantine", [bad])
    for number, where in enumerate((sink, other)):
        times = {"started_at": 1e9 + 1000 * number, "run_id": f"r{number}"}
        add_part(where, "stats", [stats("select", **times), stats("generate", **times)])
    page_of(folder, "--compare", str(made.output), other.url)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM, tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(browser: Browser, url: str, width: int) -> None:
    browser.show(url, width=width)
    browser.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    outside = f"""[...document.querySelectorAll('main *')].filter(one =>
        !one.closest('.scroll, svg') && one.getBoundingClientRect().right > {width} + 1)
        .map(one => one.outerHTML.slice(0, 80))"""
    assert browser.value(outside) == []


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_light_or_dark_and_can_be_read(browser: Browser, url: str, dark: bool) -> None:
    browser.show(url, width=1280, dark=dark)
    luminance = browser.screenshot()[:20].mean()
    assert luminance < 40 if dark else luminance > 240
    colours = """['body', '.card', 'mark', '.warning', '.facts', '.verdict'].map(name => {
        const one = document.querySelector(name);
        let behind = one;
        const clear = () => getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)';
        while (clear() && behind.parentElement)
            behind = behind.parentElement;
        return [name, getComputedStyle(one).color, getComputedStyle(behind).backgroundColor];
    })"""
    for name, text, ground in browser.value(colours):
        assert contrast(text, ground) > 4.5, (name, text, ground)


def contrast(*colours: str) -> float:
    """Of two colours as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_what_is_looked_for_is_left(browser: Browser, url: str) -> None:
    browser.show(url, width=1280)
    count = "document.querySelectorAll('.card:not([hidden])').length"
    every = browser.value(count)
    find = """(word => { const field = document.getElementById('find');
        field.value = word; field.dispatchEvent(new Event('input')); })"""
    browser.value(f"{find}('GENERATION_failed')")
    assert browser.value(count) == 1
    assert (
        browser.value("document.querySelector('.controls output').textContent") == f"1 of {every}"
    )
    browser.value(f"{find}('')")
    assert browser.value(count) == every > 20


def test_pictures_are_there_and_nothing_is_asked_for(browser: Browser, url: str) -> None:
    browser.events.clear()
    browser.show(url, width=1280)
    shown = """Promise.all([...document.images].map(one => { one.loading = 'eager';
        return one.decode().then(() => one.naturalWidth) }))"""
    widths = browser.value(shown)
    assert len(widths) > 20 and set(widths) == {3}
    drawn = browser.value("document.querySelectorAll('.map image').length")
    assert drawn == 6
    asked = {
        parameters["request"]["url"]
        for method, parameters in browser.events
        if method == "Network.requestWillBeSent"
    }
    assert {one for one in asked if not one.startswith("data:image/webp")} == {url}
    assert not [e for e in browser.events if e[0] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert browser.value("document.documentElement.dataset.errors ?? null") is None
    assert browser.value("document.title") == "Captions of 2 outputs"


def test_the_page_is_small(url: str) -> None:
    assert Path(url.removeprefix("file://")).stat().st_size < 300_000
