"""Outputs to report on: parts of any columns, put beside those of a real run or alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.accounting.stats import STATS_SCHEMA
from pipeline.job.commands import report
from pipeline.parts.sink import Sink
from pipeline.rows.schemas import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA

__all__ = ["Page", "add_part", "caption", "page_of", "stats"]

_SCHEMAS = {"captions": CAPTIONS_SCHEMA, "quarantine": QUARANTINE_SCHEMA, "stats": STATS_SCHEMA}


def add_part(
    sink: Sink, kind: str, rows: Sequence[Mapping[str, Any]], *, name: str = "part-x-1"
) -> None:
    """A part of these rows: columns of the schema that they lack are null, others are added."""
    known = _SCHEMAS[kind]
    others = [
        key for key in dict.fromkeys(k for row in rows for k in row) if key not in known.names
    ]
    columns = {key: [row.get(key) for row in rows] for key in [*known.names, *others]}
    table = pa.table(
        {key: pa.array(v, known.field(key).type if key in known.names else None)
         for key, v in columns.items()}
    )  # fmt: skip
    sink.write(f"{kind}/{name}.parquet", table, {"shares": [], "fingerprint": ""})


def caption(key: int | str, text: str = "a cat", **others: Any) -> dict[str, Any]:
    """A row of captions/ of the shard a.tar."""
    made = {"model": "m", "method": "hired", "token_budget": 0.2, "flags": []}
    tokens = {"visual_tokens_dense": 100, "visual_tokens_kept": 20, "output_tokens": 7}
    ids = {"image_id": f"a.tar#{key}", "shard": "a.tar", "key": str(key)}
    return {**ids, "text": text, **made, **tokens, **others}


def stats(stage: str, **others: Any) -> dict[str, Any]:
    """A record of a batch of one second, busy for half of it."""
    times = {"started_at": 1000.0, "wall_sec": 1.0, "busy_sec": 0.5, "idle_sec": 0.5}
    counts = {"num_images": 4, "output_tokens": 40, "cost_usd": 0.002, "errors": 0}
    return {"run_id": "r", "stage": stage, "worker": "w", **times, **counts, **others}


class Page(HTMLParser):
    """A page's text, and its elements with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.text = " ".join(" ".join(self._texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self._texts.append(data)

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)


def page_of(folder: Path, *words: str) -> Page:
    """What `hired report WORDS --html ...` writes."""
    file = folder / "report.html"
    assert report([*words, "--html", str(file)]) == 0
    return Page(file.read_text(encoding="utf-8"))
