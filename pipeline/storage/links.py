"""What links lead to, on disks that have them; and folders that lie in themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["BROKEN", "LOCKED", "LOOP", "Trail", "followed", "is_link"]

BROKEN: Final = "broken"
"""The `type` of a link that leads nowhere, or to what may not be looked at."""
LOOP: Final = "loop"
"""The `type` of a link to a folder that it lies in."""
LOCKED: Final = "locked"
"""The `type` of a folder that may not be listed."""


_MOST_LINKS: Final = 16
"""Within each other, where the disk is another machine's and does not say what they lead to."""


def is_link(path: str) -> bool:
    """Whether this path of the machine's disk is a symbolic link."""
    return os.path.islink(path)


def followed(fs: Any, path: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """`info` itself; of a link, that of what it leads to, with `islink` set."""
    if not info.get("islink") and info["type"] != "link":
        return dict(info)
    try:
        return {**fs.info(path), "name": path, "islink": True}
    except OSError:  # Nothing there, not allowed, or links that lead to each other.
        return {**info, "type": BROKEN}


@dataclass(frozen=True, slots=True)
class Trail:
    """The folders, as the disk knows them, that a walk has left through links."""

    left: tuple[str, ...] = ()

    def into(self, path: str, info: Mapping[str, Any]) -> Trail | None:
        """The trail of this file or folder; None where a link leads back to where it lies.

        Only `info`s of links have `islink`; of one to a file nothing changes.
        """
        if info["type"] != "directory" or not info.get("islink"):
            return self
        target = os.path.realpath(path)
        above = (*self.left, os.path.realpath(os.path.dirname(path)))
        if len(above) > _MOST_LINKS or any(
            f"{folder}/".startswith(f"{target.rstrip('/')}/") for folder in above
        ):
            return None
        return Trail(above)
