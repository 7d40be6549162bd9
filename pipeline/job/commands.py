"""The commands whose settings are dataclasses: captions, answers to questions, exports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from pipeline.export.options import ExportOptions
from pipeline.job.cli import parse_sections
from pipeline.job.manual import Manual
from pipeline.job.session import exit_code_of, main
from pipeline.settings.config import CaptionConfig, QuestionConfig

__all__ = ["caption", "export", "parse_export", "vqa"]

_CAPTION: Final = """\
Caption images with a high-resolution vision-language model at a fixed budget of visual tokens.
Every input row ends in captions/ or quarantine/ under --output."""

_VQA: Final = """\
Answer the questions in a column about each image, with a high-resolution vision-language model at
a fixed budget of visual tokens. Every question ends in captions/ or quarantine/ under
--output; an image with several questions is encoded once."""

_EXPORT: Final = Manual(
    command="export",
    usage="OUTPUT --to FORM [--into URL] [--where SQL] [OPTION]...",
    description="""\
Take captions away from an output, in a form that other programs read. What is killed goes on when
it is run again; what is there already is left as it is.""",
    common=("to", "into", "where", "side_by_side", "prompts_as", "rows_per_file", "input_root"),
    more="Exit codes: 0 done, 1 failed, run it again, 2 bad settings, or images that are gone.",
)


def caption(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    return main(argv, CaptionConfig, _CAPTION)


def vqa(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    return main(argv, QuestionConfig, _VQA)


def export(argv: Sequence[str]) -> int:
    """Returns the exit code."""

    def run() -> int:
        options = parse_export(argv)
        from pipeline.export import exporter

        return exporter.export(options, sys.stdout, sys.stderr)

    return exit_code_of(run)


def parse_export(argv: Sequence[str]) -> ExportOptions:
    """What `argv` asks for. Its first word may be the output without a flag.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    words = ["--output", *argv] if argv and not argv[0].startswith("-") else argv
    found = parse_sections(words, {"export": ExportOptions}, _EXPORT)
    options: ExportOptions = found["export"]
    return options
