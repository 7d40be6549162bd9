"""The prompts of one row: those of the user, filled with the row's own columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.sources.samples import Failure, Prompt
from pipeline.sources.shard import ReadOptions
from pipeline.sources.templates.template import RenderError, TooLongError, is_template, render

__all__ = ["filled"]


def filled(prompt: Prompt, fields: Mapping[str, Any], options: ReadOptions) -> Prompt:
    """`prompt` with its templates filled; a template that fails costs its own text alone.

    Prompts that come with the data are no templates, and stay as they are.
    """
    if options.prompt_column is not None or not options.has_templates:
        return prompt
    found = [_filled(text, fields, options) for text in prompt.texts]
    texts = tuple(text for text, _ in found)
    failures = tuple(failure for _, failure in found)
    every = failures[0] if failures and None not in failures else None
    return Prompt(texts, prompt.several, prompt.failure or every, prompt.names, failures)


def _filled(
    text: str | None, fields: Mapping[str, Any], options: ReadOptions
) -> tuple[str | None, Failure | None]:
    if text is None or not is_template(text):
        return text, None
    try:
        found = render(
            text,
            fields,
            max_chars=options.max_prompt_chars,
            control_tokens=options.control_tokens,
        )
        found.encode()
    except TooLongError as exc:
        return None, Failure("prompt_too_long", f"{exc} (--max-prompt-chars)")
    except (RenderError, UnicodeError) as exc:
        return None, Failure("prompt_invalid", str(exc))
    if not found.strip():
        return None, Failure("prompt_missing", "the template makes a blank text")
    return found, None
