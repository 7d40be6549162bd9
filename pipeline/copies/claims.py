"""What is asked of the registry, and what it answers.

Whoever asks first is the *first*: its caption is made, and copied to those who ask later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

__all__ = ["Asked", "Claim", "Finder", "First", "Known", "Likeness"]

_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Asked:
    """A row: which image is asked what."""

    sha256: str
    prompt: str
    image_id: str

    @property
    def key(self) -> bytes:
        """128 bits of image and prompt."""
        text = f"{self.sha256} {self.prompt}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=_KEY_BYTES).digest()

    @property
    def prompt_mark(self) -> int:
        """int64 of the prompt."""
        text = self.prompt.encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


@dataclass(frozen=True, slots=True)
class Known:
    """A row that has a caption, with the part it is in."""

    asked: Asked
    is_copy: bool
    phash: int | None


@dataclass(frozen=True, slots=True)
class Claim:
    """`number` is that of image and prompt; whether the row that asked is the first of them."""

    number: int
    is_first: bool


@dataclass(frozen=True, slots=True)
class Likeness:
    """What a first looks like, once it is decoded."""

    number: int
    asked: Asked
    phash: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class First:
    """Whose caption a row gets.

    Attributes:
        path: of the part it is in; None while it is under way.
        distance: bits between the two hashes, where the images are not the same bytes. Then
            `phash`, `width` and `height` are those of the image that gets the caption.
    """

    image_id: str
    path: str | None
    distance: int | None
    phash: int | None
    width: int | None
    height: int | None


class Finder(Protocol):
    """The registry, or what reaches it from another process."""

    def claim(self, asked: Sequence[Asked]) -> list[Claim]: ...
    def liken(self, likenesses: Sequence[Likeness]) -> list[bool]: ...
    def stored(self, path: str, asked: Sequence[Asked]) -> None: ...
    def resolve(self, numbers: Sequence[int]) -> dict[int, First]: ...
