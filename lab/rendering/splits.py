"""Training, validation and test pictures share no seed, no font and no kind of background."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SAMPLE_SEED", "SPLITS", "Split"]


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a split's pictures are drawn from.

    Attributes:
        first_seed: seeds from here to the next split's first are its own.
        fonts: file names among those that come with matplotlib.
        backgrounds: names of functions of `backgrounds`.
        varies_glyphs: whether glyphs are at times bolder, leaning, wider or narrower than their
            font's.
    """

    first_seed: int
    fonts: tuple[str, ...]
    backgrounds: tuple[str, ...]
    varies_glyphs: bool = False


SPLITS = {
    "train": Split(
        first_seed=0,
        fonts=(
            "DejaVuSans.ttf",
            "DejaVuSans-Oblique.ttf",
            "DejaVuSans-BoldOblique.ttf",
            "DejaVuSansMono.ttf",
            "DejaVuSansMono-Bold.ttf",
            "DejaVuSerif.ttf",
            "DejaVuSerif-BoldItalic.ttf",
            "STIXGeneral.ttf",
            "STIXGeneralBol.ttf",
            "DejaVuSerif-Italic.ttf",
            "STIXGeneralBolIta.ttf",
            "cmr10.ttf",
            "cmb10.ttf",
            "cmtt10.ttf",
        ),
        backgrounds=("plain", "gradient", "blotches", "stripes"),
        varies_glyphs=True,
    ),
    "validation": Split(
        first_seed=1_000_000_000,
        fonts=("DejaVuSansMono-Oblique.ttf", "cmss10.ttf"),
        backgrounds=("weave", "clouds"),
    ),
    "test": Split(
        first_seed=2_000_000_000,
        fonts=("DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf"),
        backgrounds=("vignette", "grain"),
    ),
}
# Of the shipped samples: test pictures that no evaluation draws.
SAMPLE_SEED = 3_000_000_000
