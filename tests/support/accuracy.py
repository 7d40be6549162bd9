"""Results of an evaluation beside recorded ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Any]


def drops(reference: Results, found: Results) -> list[str]:
    """Figures that fell by more than the recorded interval allows, each as a line.

    Both are of the same questions, so that luck of the draw is no excuse; the interval leaves room
    for other processors and libraries. A figure that is no longer there fell, too.
    """
    now = {_key(entry): entry["value"] for entry in found["figures"]}
    fell = []
    for entry in reference["figures"]:
        value = now.get(_key(entry))
        if entry["primary"] and (value is None or value < entry["low"]):
            was = f"{entry['value']:.3f}, at least {entry['low']:.3f}"
            fell.append(f"{entry['label']}, {entry['task']}: {value} now, recorded {was}")
    return fell


def _key(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    return entry["label"], entry["task"], entry["metric"]
