"""The demo's page: what was done and what it took, then every image beside what is true of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from PIL import Image

from lab.evaluation.gallery import Comparison, overall_f1
from pipeline.report.showing.charts import Segment, segments
from pipeline.report.showing.page import page_environment, script_policy
from pipeline.report.showing.pictures import Picture
from pipeline.report.showing.views import Tile
from pipeline.report.style import page_style
from pipeline.rows.words import counted

__all__ = ["render_demo"]

_HERE: Final = Path(__file__).parent
_MAGIC: Final = {b"\xff\xd8": "jpeg", b"\x89PNG": "png", b"RIFF": "webp"}
_KINDS: Final = {
    "right": "all right",
    "partly": "partly right",
    "wrong": "nothing right",
    "lost": "quarantined",
}


@dataclass(frozen=True, kw_only=True)
class _Card:
    """One row; `kind` is a key of `_KINDS`."""

    image_id: str
    kind: str
    mark: str
    text: str
    truth: str
    facts: str
    picture: Picture


def render_demo(
    compared: Sequence[Comparison], lost: Sequence[Mapping[str, Any]], report: Mapping[str, Any]
) -> str:
    """HTML; all text is escaped.

    Args:
        compared: captions and the truth about their images.
        lost: quarantined rows: `image_id`, `error_code`, `error_detail`.
        report: what the job said at its end, `report.json`.
    """
    script = (_HERE / "demo.js").read_text(encoding="utf-8")
    cards = [*map(_captioned, compared), *map(_quarantined, lost)]
    numbers = {kind: sum(card.kind == kind for card in cards) for kind in _KINDS}
    return (
        page_environment(_HERE)
        .get_template("demo.html")
        .render(
            title="What the shipped model says of the shipped samples",
            done=_done(report),
            tiles=_tiles(compared, report),
            outcome=_outcome(numbers),
            kinds=[
                ("all", f"all {len(cards)}"),
                *((kind, f"{_KINDS[kind]}: {count}") for kind, count in numbers.items() if count),
            ],
            cards=cards,
            stages=_stages(report),
            prices=_prices(report),
            policy=script_policy(script),
            style=Markup(page_style()),  # Ours.
            script=Markup(script),
        )
    )


def _captioned(item: Comparison) -> _Card:
    right, named, shown = item.counts
    wrong = named - right
    kind = "wrong" if not right else "right" if right == shown and not wrong else "partly"
    return _Card(
        image_id=item.image_id,
        kind=kind,
        mark=f"{right} of {shown} named, {wrong} wrong",
        text=item.text,
        truth=item.sample.caption,
        facts=f"{item.tokens} visual tokens",
        picture=_picture(item.sample.image),
    )


def _picture(image: bytes) -> Picture:
    kind = next(kind for magic, kind in _MAGIC.items() if image.startswith(magic))
    uri = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    with Image.open(io.BytesIO(image)) as opened:
        width, height = opened.size
    return Picture(uri=uri, width=width, height=height)


def _quarantined(row: Mapping[str, Any]) -> _Card:
    return _Card(
        image_id=str(row["image_id"]),
        kind="lost",
        mark=str(row["error_code"]),
        text=str(row["error_detail"] or ""),
        truth="",
        facts="in quarantine: broken on purpose, to show what becomes of such files",
        picture=Picture(why="it cannot be shown"),
    )


def _done(report: Mapping[str, Any]) -> str:
    return (
        f"{counted(report['rows'], 'image')} in {counted(report['shards'], 'shard')} were read; "
        f"{report['captioned']:,} were captioned and {report['quarantined']:,} set aside, each "
        f"with its reason. {report['token_budget_asked'][0].upper()}"
        f"{report['token_budget_asked'][1:]}."
    )


def _tiles(compared: Sequence[Comparison], report: Mapping[str, Any]) -> list[Tile]:
    codes = ", ".join(f"{name} {n}" for name, n in report["quarantined_by_code"].items())
    dense, kept = report["visual_tokens_dense"], report["visual_tokens_kept"]
    first = report["first_text_sec"]
    started = "" if first is None else f"{first:.1f} s to the first text"
    per_1000 = report["usd_per_1000_images"]
    each = "" if per_1000 is None else f"USD {per_1000:.4f} per 1000 images"
    return [
        Tile(name="captioned", value=f"{report['captioned']:,}", note="rows with a text"),
        Tile(name="quarantined", value=f"{report['quarantined']:,}", note=codes),
        Tile(
            name="named rightly",
            value=f"F1 {overall_f1(list(compared)):.2f}",
            note="objects and texts, over all captions",
        ),
        Tile(
            name="visual tokens kept",
            value=f"{kept / dense:.0%}" if dense else "-",
            note=f"{kept:,} of {dense:,}",
        ),
        Tile(name="time", value=f"{report['wall_sec']:.0f} s", note=started),
        Tile(name="cost", value=f"USD {report['usd']:.4f}", note=each),
    ]


def _outcome(numbers: Mapping[str, int]) -> list[Segment]:
    return segments([(_KINDS[kind], count, kind) for kind, count in numbers.items()])


def _stages(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "images": int(stage.get("num_images", 0)),
            "busy_sec": stage.get("busy_sec", 0.0),
            "usd": stage.get("cost_usd"),
        }
        for name, stage in report["stages"].items()
    ]


def _prices(report: Mapping[str, Any]) -> str:
    gpu = f", a GPU-hour {report['gpu_hour_usd']:.2f}" if report["cluster"]["gpus"] else ""
    return f"A CPU-hour is USD {report['cpu_hour_usd']:.3f}{gpu}."
