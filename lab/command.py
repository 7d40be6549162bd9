"""`hired COMMAND ...`, the command of the installed package."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Final

from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "caption": ("pipeline.job.commands:caption", "caption images"),
    "vqa": ("pipeline.job.commands:vqa", "answer questions about images"),
    "verify": ("pipeline.verify.command:main", "check an output, and mend it"),
    "export": ("pipeline.job.commands:export", "take captions away: .txt, tars, JSON, Parquet"),
    "report": ("pipeline.job.commands:report", "look at outputs: lines, or a page in a browser"),
    "demo": ("lab.demo.command:main", "caption the shipped samples with the shipped model"),
    "explain": ("lab.evaluation.page.command:main", "show which visual tokens are kept"),
    "evaluate": ("lab.evaluation.command:main", "accuracy against budget, method by method"),
    "benchmark": ("lab.benchmark.command:main", "images/s beside transformers' generate"),
    "device-check": ("lab.device_check.command:main", "what only a GPU can tell, in 8 minutes"),
    "train-embedded": ("lab.training.command:main", "train the shipped model anew"),
}
"""By name: the function that takes the arguments and returns the exit code, and a line of help.

A function's module is imported when it is called for, and imports in turn what it runs when it
runs: help answers at once.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code; without one, says which there are."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = words[0] if words else ""
    if name in ("", "help", "--help", "-h"):
        print(_page())
        return EXIT_DONE if words else EXIT_BAD_CONFIG
    if name == "--version":
        print(f"hired {version('hired-batch')}")
        return EXIT_DONE
    if name not in COMMANDS:
        print(f"error: {name}: no such command; {_hint(name)}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    module, _, function = COMMANDS[name][0].partition(":")
    run: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), function)
    return run(words[1:])


def _page() -> str:
    lines = [f"  {name:16}{line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: hired COMMAND [OPTION]...",
            "",
            "Captions images, or answers questions about them, at a fixed visual-token budget.",
            "",
            *lines,
            "",
            "`hired COMMAND --help` explains one.",
        ]
    )


def _hint(name: str) -> str:
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
