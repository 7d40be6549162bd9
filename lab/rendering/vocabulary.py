"""What pictures are made of, and the classes of a labelled pixel."""

from __future__ import annotations

__all__ = [
    "BAR",
    "COLOURS",
    "FIRST_GLYPH",
    "FIRST_KEY",
    "GLYPHS",
    "KEYS",
    "LETTERS",
    "MAX_PLACES",
    "NUM_CLASSES",
    "NUM_LEVELS",
    "NUM_OBJECT_CLASSES",
    "NUM_OWNERS",
    "SHAPES",
    "SMALL_TEXT",
    "glyph_class",
    "key_owner",
    "letter_owner",
]

COLOURS = {
    "red": (215, 35, 35),
    "orange": (245, 140, 20),
    "yellow": (240, 220, 40),
    "green": (40, 160, 60),
    "cyan": (40, 200, 215),
    "blue": (40, 70, 210),
    "purple": (130, 50, 170),
    "pink": (245, 130, 190),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
# As on number plates: no I, O and Q, which look like 1 and 0.
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"
GLYPHS = LETTERS + "0123456789"
# What the lines of a form are called; drawn small, so they are recognised as whole words.
KEYS = (
    "total",
    "date",
    "name",
    "city",
    "room",
    "code",
    "tax",
    "seat",
    "gate",
    "order",
    "phone",
    "price",
    "class",
    "weight",
    "size",
    "batch",
    "flight",
    "model",
    "unit",
    "pin",
)

# Classes of a labelled pixel: 0 is nothing, then coloured shapes, glyphs, keys and the rest.
NUM_OBJECT_CLASSES = len(COLOURS) * len(SHAPES)
FIRST_GLYPH = 1 + NUM_OBJECT_CLASSES
FIRST_KEY = FIRST_GLYPH + len(GLYPHS)
BAR = FIRST_KEY + len(KEYS)
SMALL_TEXT = BAR + 1
NUM_CLASSES = SMALL_TEXT + 1
# Place of a glyph in its run, from 1; 0 is no glyph.
MAX_PLACES = 8
# Whose value a glyph or a bar is: 0 nobody's, then the keys, then the labels of a chart.
NUM_OWNERS = 1 + len(KEYS) + len(LETTERS)
# Height of a bar in steps of 5, from 1; 0 is no bar.
NUM_LEVELS = 21


def glyph_class(glyph: str) -> int:
    """Class of a glyph's pixels."""
    return FIRST_GLYPH + GLYPHS.index(glyph)


def key_owner(key: int) -> int:
    """Owner number of the value of a key."""
    return 1 + key


def letter_owner(letter: str) -> int:
    """Owner number of what stands above a chart's label."""
    return 1 + len(KEYS) + LETTERS.index(letter)
