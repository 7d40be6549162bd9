"""Captions of pictures, and questions about them with their answers."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lab.rendering.geometry import content_size
from lab.rendering.picture import Picture, SceneObject, class_name
from lab.rendering.vocabulary import COLOURS, KEYS, NUM_OBJECT_CLASSES, SHAPES

__all__ = [
    "CAPTION_PROMPTS",
    "SPATIAL_KINDS",
    "TASKS",
    "Ask",
    "Asked",
    "Task",
    "caption",
    "truth_json",
]

CAPTION_PROMPTS = (
    "Describe the image.",
    "What is shown in this image?",
    "Describe this picture.",
    "Write a caption for the image.",
)
_COLOUR_NAMES = tuple(COLOURS)
_RELATIONS = ("left of", "right of", "above", "below")
# A relation holds clearly from this share of the image's side, a quadrant from this one.
_CLEAR, _OFF_MIDDLE = 0.12, 0.06
# The second nearest is at least so many times as far away.
_CLEARLY_NEARER = 1.3
_Rng = np.random.Generator
Ask = Callable[[Picture, _Rng], "Asked | None"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question and its answer; `kind` is a variety of the task's questions."""

    text: str
    answer: str
    kind: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task asks one kind of picture; `ask` gives None when this one offers no question."""

    name: str
    picture: str
    ask: Ask


def caption(picture: Picture) -> str:
    """One sentence: objects by colour, then shape, and signs from top to bottom; or all lines."""
    if picture.form is not None:
        lines = [f"{KEYS[line.key]} {line.value}" for line in picture.form.lines]
        return f"A form with {_joined(lines)}."
    if picture.chart is not None:
        return f"A chart with {_joined([f'{x.label} {x.value}' for x in picture.chart.bars])}."
    parts = [_with_article(class_name(item.class_id)) for item in picture.objects]
    parts += [f"a sign that says {sign.text}" for sign in picture.signs]
    text = _joined(parts) or "nothing"
    return f"{text[0].upper()}{text[1:]}."


def truth_json(picture: Picture) -> str:
    """What a picture shows as JSON: its caption, [colour, shape] pairs, and all its texts."""
    objects = [class_name(item.class_id).split() for item in picture.objects]
    signs = [sign.text for sign in picture.signs]
    truth: dict[str, object] = {"caption": caption(picture), "objects": objects, "signs": signs}
    if picture.form is not None:
        truth["form"] = {KEYS[line.key]: line.value for line in picture.form.lines}
    if picture.chart is not None:
        truth["chart"] = {bar.label: bar.value for bar in picture.chart.bars}
    return json.dumps(truth)


def _caption(picture: Picture, rng: _Rng) -> Asked:
    text = str(CAPTION_PROMPTS[0])
    details = {"truth": truth_json(picture)}
    return Asked(text=text, answer=caption(picture), kind="caption", details=details)


def _attribute(picture: Picture, rng: _Rng) -> Asked | None:
    """The colour of a lone shape or the shape of a lone colour."""
    shapes = Counter(item.shape for item in picture.objects)
    colours = Counter(item.colour for item in picture.objects)
    found = [
        Asked(
            text=f"What colour is the {SHAPES[x.shape]}?",
            answer=_COLOUR_NAMES[x.colour],
            kind="colour",
        )
        for x in picture.objects
        if shapes[x.shape] == 1
    ]
    found += [
        Asked(
            text=f"What shape is the {_COLOUR_NAMES[x.colour]} object?",
            answer=SHAPES[x.shape],
            kind="shape",
        )
        for x in picture.objects
        if colours[x.colour] == 1
    ]
    return _pick(rng, found)


def _existence(picture: Picture, rng: _Rng) -> Asked | None:
    """A coloured shape to ask for; when absent, most share a colour or a shape with one there."""
    there = [item.class_id for item in picture.objects]
    if not there:
        return None
    if rng.random() < 0.5:
        class_id, kind = int(rng.choice(there)), "present"
    else:
        absent = [class_id for class_id in range(NUM_OBJECT_CLASSES) if class_id not in there]
        near = [c for c in absent if any(_are_alike(c, other) for other in there)]
        is_hard = bool(near) and rng.random() < 0.7
        class_id = int(rng.choice(near if is_hard else absent))
        kind = "hard" if is_hard else "absent"
    text = f"Is there {_with_article(class_name(class_id))}?"
    return Asked(text=text, answer="yes" if kind == "present" else "no", kind=kind)


def _count(picture: Picture, rng: _Rng) -> Asked | None:
    """All objects, those of a colour or those of a shape; mostly of one that is there."""
    kind = str(rng.choice(("all", "colour", "shape"), p=(0.4, 0.3, 0.3)))
    if kind == "all" or not picture.objects:
        return _counted("objects", len(picture.objects), "all")
    item = picture.objects[rng.integers(len(picture.objects))]
    is_any = rng.random() < 0.25
    if kind == "colour":
        colour = int(rng.integers(len(COLOURS))) if is_any else item.colour
        number = sum(other.colour == colour for other in picture.objects)
        return _counted(f"{_COLOUR_NAMES[colour]} objects", number, kind)
    shape = int(rng.integers(len(SHAPES))) if is_any else item.shape
    number = sum(other.shape == shape for other in picture.objects)
    plural = f"{SHAPES[shape]}es" if SHAPES[shape].endswith("s") else f"{SHAPES[shape]}s"
    return _counted(plural, number, kind)


def _counted(what: str, number: int, kind: str) -> Asked:
    return Asked(text=f"How many {what} are there?", answer=str(number), kind=kind)


def _spatial(picture: Picture, rng: _Rng) -> Asked | None:
    """Left of / above, the quadrant, or the nearest object; only where it is clear."""
    asks = list(SPATIAL_KINDS.values())
    for index in rng.permutation(len(asks)):
        asked = asks[int(index)](picture, rng)
        if asked is not None:
            return asked
    return None


def _relation(picture: Picture, rng: _Rng) -> Asked | None:
    if len(picture.objects) < 2:
        return None
    first, second = (picture.objects[i] for i in rng.permutation(len(picture.objects))[:2])
    width, height = content_size(picture.width, picture.height)
    relation = _RELATIONS[rng.integers(len(_RELATIONS))]
    across = (
        (second.x - first.x) / width
        if relation in _RELATIONS[:2]
        else (second.y - first.y) / height
    )
    if abs(across) < _CLEAR:
        return None
    is_so = (across > 0) == (relation in ("left of", "above"))
    text = f"Is the {class_name(first.class_id)} {relation} the {class_name(second.class_id)}?"
    return Asked(text=text, answer="yes" if is_so else "no", kind="relation")


def _quadrant(picture: Picture, rng: _Rng) -> Asked | None:
    width, height = content_size(picture.width, picture.height)
    clear = [
        item
        for item in picture.objects
        if abs(item.x / width - 0.5) > _OFF_MIDDLE and abs(item.y / height - 0.5) > _OFF_MIDDLE
    ]
    if not clear:
        return None
    item = clear[rng.integers(len(clear))]
    row = "top" if item.y < height / 2 else "bottom"
    column = "left" if item.x < width / 2 else "right"
    text = f"In which quarter is the {class_name(item.class_id)}?"
    return Asked(text=text, answer=f"{row} {column}", kind="quarter")


def _nearest(picture: Picture, rng: _Rng) -> Asked | None:
    if len(picture.objects) < 3:
        return None
    item = picture.objects[rng.integers(len(picture.objects))]
    others = [other for other in picture.objects if other is not item]
    others.sort(key=lambda other: _distance(item, other))
    if _distance(item, others[1]) < _CLEARLY_NEARER * _distance(item, others[0]):
        return None
    text = f"Which object is nearest to the {class_name(item.class_id)}?"
    return Asked(text=text, answer=class_name(others[0].class_id), kind="nearest")


SPATIAL_KINDS: dict[str, Ask] = {
    "relation": _relation,
    "quarter": _quadrant,
    "nearest": _nearest,
}


def _scene_text(picture: Picture, rng: _Rng) -> Asked | None:
    if len(picture.signs) != 1:
        return None
    return Asked(text="What does the sign say?", answer=picture.signs[0].text, kind="sign")


def _document(picture: Picture, rng: _Rng) -> Asked | None:
    assert picture.form is not None
    line = picture.form.lines[rng.integers(len(picture.form.lines))]
    return Asked(text=f"What is the {KEYS[line.key]}?", answer=line.value, kind="value")


def _chart(picture: Picture, rng: _Rng) -> Asked | None:
    """The value of a label, or the label of the highest or lowest value."""
    assert picture.chart is not None
    chart = picture.chart
    if rng.random() < 0.7:
        bar = chart.bars[rng.integers(len(chart.bars))]
        return Asked(
            text=f"What is the value of {bar.label}?", answer=str(bar.value), kind=chart.kind
        )
    bars = sorted(chart.bars, key=lambda bar: bar.value)
    word, bar = ("lowest", bars[0]) if rng.random() < 0.5 else ("highest", bars[-1])
    return Asked(text=f"Which label has the {word} value?", answer=bar.label, kind=word)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(name="attribute", picture="scene", ask=_attribute),
        Task(name="existence", picture="scene", ask=_existence),
        Task(name="count", picture="scene", ask=_count),
        Task(name="spatial", picture="scene", ask=_spatial),
        Task(name="scene_text", picture="scene", ask=_scene_text),
        Task(name="document", picture="form", ask=_document),
        Task(name="chart", picture="chart", ask=_chart),
        Task(name="caption", picture="scene", ask=_caption),
    )
}


def _pick(rng: _Rng, found: Sequence[Asked]) -> Asked | None:
    return found[int(rng.integers(len(found)))] if found else None


def _are_alike(one: int, other: int) -> bool:
    """Same colour or same shape."""
    per_colour = len(SHAPES)
    return one // per_colour == other // per_colour or one % per_colour == other % per_colour


def _distance(one: SceneObject, other: SceneObject) -> float:
    return math.hypot(one.x - other.x, one.y - other.y)


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _joined(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
