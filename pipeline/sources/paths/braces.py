"""`{00..12}.tar` and `{train,test}/*.jpg`, as shells and WebDataset write several paths at once."""

from __future__ import annotations

import itertools
import os
from typing import Final

from braceexpand import braceexpand

from pipeline.rows.errors import InputError
from pipeline.storage.files import local_path, redact_url

__all__ = ["expanded"]

_MOST: Final = 100_000


def expanded(url: str) -> list[str]:
    """The paths that the braces of `url` stand for, in their order; `url` where they are a name.

    Raises:
        InputError: if they stand for more than 100,000.
    """
    path = local_path(url)
    if "{" not in url or (path is not None and os.path.lexists(path)):
        return [url]
    try:
        found = list(itertools.islice(braceexpand(url, escape=False), _MOST + 1))
    except ValueError:  # Braces that do not close.
        return [url]
    if len(found) > _MOST:
        raise InputError(f"{redact_url(url)} stands for more than {_MOST:,} paths: use '*'")
    return found
