"""The commands whose settings are dataclasses: captions, answers, exports, reports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, TypeVar

from pipeline.command_line.cli import parse_sections
from pipeline.command_line.manual import Manual
from pipeline.export.options import ExportOptions
from pipeline.job.session import exit_code_of, main
from pipeline.report.asked import ReportOptions
from pipeline.settings.config import CaptionConfig, QuestionConfig

__all__ = ["caption", "export", "parse_export", "parse_report", "report", "vqa"]

_Options = TypeVar("_Options")

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
    common=(
        *("to", "into", "where", "side_by_side", "prompts_as", "rows_per_file", "input_root"),
        "push_to_hub",
    ),
    more="Exit codes: 0 done, 1 failed, run it again, 2 bad settings, or images that are gone.",
)

_REPORT: Final = Manual(
    command="report",
    usage="OUTPUT... [--html FILE] [--compare A B] [OPTION]...",
    description="""\
Look at what is stored in outputs: rows by outcome, cost of runs, captions beside their images,
quarantine by reason and what to do about it. As lines of text, or with --html as one page that
needs no network. Outputs are read and not changed.""",
    common=("html", "compare", "examples", "seed", "images", "max_shards", "input_root"),
    more="Exit codes: 0 done, 1 failed, run it again, 2 bad settings, or there are no results.",
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
        from pipeline.export import exporter, hub

        hub.check_hub(options)
        code = exporter.export(options, sys.stdout, sys.stderr)
        if options.push_to_hub:
            hub.push_to_hub(options, sys.stdout)
        return code

    return exit_code_of(run)


def parse_export(argv: Sequence[str]) -> ExportOptions:
    """What `argv` asks for. Its first word may be the output without a flag.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    return _parsed(argv, ExportOptions, _EXPORT)


def report(argv: Sequence[str]) -> int:
    """Returns the exit code."""

    def run() -> int:
        options = parse_report(argv)
        from pipeline.report import reporter

        return reporter.report(options, sys.stdout)

    return exit_code_of(run)


def parse_report(argv: Sequence[str]) -> ReportOptions:
    """What `argv` asks for. Its first words may be outputs without a flag.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    return _parsed(argv, ReportOptions, _REPORT)


def _parsed(argv: Sequence[str], section: type[_Options], manual: Manual) -> _Options:
    words = ["--output", *argv] if argv and not argv[0].startswith("-") else argv
    options: _Options = parse_sections(words, {manual.command: section}, manual)[manual.command]
    return options
