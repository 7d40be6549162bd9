"""The job's two commands: captions, and answers to questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.job.session import main
from pipeline.settings.config import CaptionConfig, QuestionConfig

__all__ = ["caption", "vqa"]

_CAPTION: Final = """\
Caption images with a high-resolution vision-language model at a fixed budget of visual tokens
(HiRED). Every input row ends in captions/ or quarantine/ under --output."""

_VQA: Final = """\
Answer the questions in a column about each image, with a high-resolution vision-language model at
a fixed budget of visual tokens (HiRED). Every question ends in captions/ or quarantine/ under
--output; an image with several questions is encoded once."""


def caption(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    return main(argv, CaptionConfig, _CAPTION)


def vqa(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    return main(argv, QuestionConfig, _VQA)
