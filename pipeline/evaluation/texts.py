"""Captions of scenes and questions about them, with their answers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.scenes import COLOURS, NUM_OBJECT_CLASSES, SHAPES, Scene

__all__ = [
    "CAPTION_PROMPTS",
    "Question",
    "caption",
    "class_name",
    "questions",
    "truth_json",
]

COLOUR_NAMES = tuple(COLOURS)
CAPTION_PROMPTS = (
    "Describe the image.",
    "What is shown in this image?",
    "Describe this picture.",
    "Write a caption for the image.",
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about a scene; `kind` is sign, colour, shape, presence or count."""

    kind: str
    text: str
    answer: str


def class_name(class_id: int) -> str:
    """Words of a coloured shape, "red circle"."""
    return f"{COLOUR_NAMES[class_id // len(SHAPES)]} {SHAPES[class_id % len(SHAPES)]}"


def caption(scene: Scene) -> str:
    """Every object by colour, then by shape, then the signs from top to bottom.

    The order depends on what is there and not on where: "a red circle, a blue square and a sign
    that says STOP."
    """
    objects = ", ".join(
        f"{_article(item.class_id)} {class_name(item.class_id)}" for item in scene.objects
    )
    signs = [f"a sign that says {sign.text}" for sign in scene.signs]
    parts = [objects, *signs] if objects else signs
    return " and ".join(parts or ["nothing"]) + "."


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Every kind of question whose answer is unique in the scene, in a fixed order."""
    asked = []
    if len(scene.signs) == 1:
        sign = scene.signs[0].text
        asked.append(Question(kind="sign", text="What does the sign say?", answer=sign))
    asked += _attribute_questions(scene, rng)
    class_id, present = _presence(scene, rng)
    name = f"{_article(class_id)} {class_name(class_id)}"
    answer = "yes" if present else "no"
    asked.append(Question(kind="presence", text=f"Is there {name}?", answer=answer))
    count = str(len(scene.objects))
    asked.append(Question(kind="count", text="How many objects are there?", answer=count))
    return asked


def truth_json(scene: Scene) -> str:
    """The content of a scene as JSON: objects as [colour, shape] pairs, and the sign texts."""
    objects = [class_name(item.class_id).split() for item in scene.objects]
    return json.dumps({"objects": objects, "signs": [sign.text for sign in scene.signs]})


def _attribute_questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """One question for the colour of a shape and one for the shape of a colour, when unique."""
    shapes = Counter(item.shape for item in scene.objects)
    colours = Counter(item.colour for item in scene.objects)
    lone_shapes = [item for item in scene.objects if shapes[item.shape] == 1]
    lone_colours = [item for item in scene.objects if colours[item.colour] == 1]
    asked = []
    if lone_shapes:
        item = lone_shapes[rng.integers(len(lone_shapes))]
        text = f"What colour is the {SHAPES[item.shape]}?"
        asked.append(Question(kind="colour", text=text, answer=COLOUR_NAMES[item.colour]))
    if lone_colours:
        item = lone_colours[rng.integers(len(lone_colours))]
        text = f"What shape is the {COLOUR_NAMES[item.colour]} object?"
        asked.append(Question(kind="shape", text=text, answer=SHAPES[item.shape]))
    return asked


def _presence(scene: Scene, rng: np.random.Generator) -> tuple[int, bool]:
    """A coloured shape to ask for; when absent, most share a colour or a shape with one there."""
    there = [item.class_id for item in scene.objects]
    if there and rng.random() < 0.5:
        return there[rng.integers(len(there))], True
    absent = [class_id for class_id in range(NUM_OBJECT_CLASSES) if class_id not in there]
    colours = {class_id // len(SHAPES) for class_id in there}
    shapes = {class_id % len(SHAPES) for class_id in there}
    near = [c for c in absent if c // len(SHAPES) in colours or c % len(SHAPES) in shapes]
    pool = near if near and rng.random() < 0.7 else absent
    return pool[rng.integers(len(pool))], False


def _article(class_id: int) -> str:
    return "an" if class_name(class_id)[0] in "aeiou" else "a"
