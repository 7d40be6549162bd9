"""A first look at what a run has made: three captions, and the Python that reads them all."""

from __future__ import annotations

from typing import Any, Final

from pipeline.parts.sink import Sink
from pipeline.sources import redact_url

__all__ = ["first_look"]

_SHOWN: Final = 3
_ID, _TEXT = 60, 160
_NATIVE: Final = ("s3://", "gs://", "hdfs://")
"""What Arrow opens by itself; of other URLs fsspec makes its file system."""


def first_look(sink: Sink, run_id: str) -> str:
    """Lines for the screen; empty if the run has captioned nothing."""
    rows = _rows(sink, run_id)
    if not rows:
        return ""
    examples = [f"{'':>14}  {_cut(r['image_id'], _ID)}: {_cut(r['text'], _TEXT)}" for r in rows]
    return "\n".join(
        [
            f"\n{'for example':>14}",
            *examples,
            f"\n{'read them by':>14}",
            *(f"{'':>14}  {line}" for line in _python(sink.url)),
        ]
    )


def _rows(sink: Sink, run_id: str) -> list[dict[str, Any]]:
    """The first captions of the run, by `image_id` and `text`."""
    rows: list[dict[str, Any]] = []
    for path in sink.parts("captions", run_id):
        table = sink.read_part(path, ["image_id", "text"])
        rows += table.slice(0, _SHOWN - len(rows)).to_pylist()
        if len(rows) == _SHOWN:
            break
    return rows


def _cut(text: str, most: int) -> str:
    """On one line, without what would steer a terminal."""
    plain = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _python(url: str) -> list[str]:
    """Lines that can be typed as they are, but for credentials, which belong in the environment."""
    where = f"{redact_url(url).rstrip('/')}/captions"
    columns = "columns=['image_id', 'text']"
    if "://" not in url or url.startswith(_NATIVE):
        opened = [f"captions = ds.dataset({where!r})"]
    else:
        opened = [
            f"fs, path = fsspec.core.url_to_fs({where!r})",
            "captions = ds.dataset(path, filesystem=fs)",
        ]
    imports = (
        "import pyarrow.dataset as ds"
        if len(opened) == 1
        else ("import fsspec; import pyarrow.dataset as ds")
    )
    return [imports, *opened, f"captions.to_table({columns}).to_pandas()"]
