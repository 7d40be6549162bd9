"""Texts that may be shown: no credentials, one line."""

from __future__ import annotations

import re

__all__ = ["cause_of", "describe_error", "redact_text", "redact_url"]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>()]+")


def redact_url(url: str) -> str:
    """`url` without user name, password and query (where signatures travel)."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    rest, query, _ = rest.partition("?")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" + ("?..." if query else "")


def redact_text(text: str) -> str:
    """`text` with the URLs inside it redacted."""
    return _URL.sub(lambda match: redact_url(match.group()), text)


def describe_error(exc: BaseException) -> str:
    """Type and text of `exc` on one line, with the URLs inside it redacted."""
    text = redact_text(" ".join(str(exc).split()))
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def cause_of(exc: Exception) -> Exception | None:
    """`exc`, to raise from; None if its traceback would tell what its redacted text does not.

    Ray writes the tracebacks of stages, causes included, to its logs.
    """
    told: BaseException | None = exc
    seen: list[BaseException] = []
    while told is not None and told not in seen:
        if redact_text(str(told)) != str(told):
            return None
        seen.append(told)
        told = told.__cause__ or told.__context__
    return exc
