"""Members of a tar put together to samples, also where those of several samples alternate.

webdataset, and what writes for it, puts the members of a sample side by side. A tar of a folder has
them in the order of the disk, `a.jpg b.jpg a.json b.json`. An image whose texts are still to come
waits for them, for as many bytes as `WINDOW_BYTES`: what is farther apart is not put together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from pipeline.sources.samples import Failure
from pipeline.sources.shard import IMAGE_SUFFIXES, MIB

__all__ = ["WINDOW_BYTES", "Joined", "Joiner", "Part", "is_image", "kind_of"]

_Shape = tuple[str, ...]
"""The suffixes of a sample's members."""

WINDOW_BYTES: Final = 64 * MIB
"""Of members that are held: how far apart those of a sample may be."""
_WINDOW_SAMPLES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Part:
    """One member of a sample; `data` is None when it was not read."""

    key: str
    suffix: str
    """All behind the key, in lower case: "jpg", "left.jpg"."""

    written: str = ""
    """The same as it is in the archive."""

    data: bytes | None = None
    failure: Failure | None = None

    @property
    def num_bytes(self) -> int:
        return len(self.data or b"")


@dataclass(frozen=True, slots=True)
class Joined:
    """An image, or the lack of one, with the texts of its sample by kind ("json", "txt", "cls")."""

    key: str
    """Of the sample, for its first image without a dot in its suffix; of others with the suffix:
    `0.left.jpg`."""

    image: Part | None
    texts: dict[str, Part]
    suffixes: tuple[str, ...] = ()
    """Of the sample's members, where there is no image."""

    failure: Failure | None = None


@dataclass(slots=True)
class _Open:
    """A sample whose members are coming."""

    key: str
    is_one: bool = False
    suffixes: dict[str, None] = field(default_factory=dict)
    images: dict[str, None] = field(default_factory=dict)
    texts: dict[str, Part] = field(default_factory=dict)
    waiting: list[Part] = field(default_factory=list)
    failure: Failure | None = None

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in (*self.waiting, *self.texts.values()))

    def joined(self, image: Part | None) -> Joined:
        if image is None:
            return Joined(self.key, None, self.texts, tuple(self.suffixes), self.failure)
        main = next((suffix for suffix in self.images if "." not in suffix), None)
        is_main = self.is_one or image.suffix == main
        key = self.key if is_main else f"{self.key}.{image.written}"
        return Joined(key, image, self.texts_of(image))

    def texts_of(self, image: Part) -> dict[str, Part]:
        """By kind: `0.left.json`, and else `0.json`, of `0.left.jpg`."""
        own = image.suffix[: -len(kind_of(image.suffix))]
        plain = {suffix: part for suffix, part in self.texts.items() if "." not in suffix}
        mine = {s[len(own) :]: part for s, part in self.texts.items() if own and s.startswith(own)}
        return plain | {kind: part for kind, part in mine.items() if "." not in kind}


class Joiner:
    """Takes members in the order of the archive, and gives images as soon as their texts are there.

    Args:
        needed: kinds of texts that go with each image.
        member: of samples with several images, the suffix of the one to take, or a pattern for it;
            None for all of them.

    It holds the keys of the archive, and of members no more than `WINDOW_BYTES`.
    """

    def __init__(
        self,
        needed: frozenset[str],
        member: str | None = None,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._needed = needed
        self._member = member
        self._window_bytes = window_bytes
        self._open: dict[str, _Open] = {}
        self._num_bytes = 0
        self._gone: dict[str, _Shape] = {}
        self._imageless: dict[str, tuple[_Shape, Failure | None]] = {}
        self._shapes: dict[_Shape, _Shape] = {}
        self._last: _Open | None = None

    def add(self, part: Part) -> Iterator[Joined]:
        """What is complete by it. A member that occurs again begins another sample of its key."""
        sample = self._sample_of(part)
        if part.suffix in sample.suffixes:
            yield from self._close(sample, forget=True)
            sample = self._sample_of(part)
        self._last = sample
        sample.suffixes[part.suffix] = None
        sample.failure = sample.failure or part.failure
        if is_image(part.suffix, self._member):
            if sample.images and self._member:
                return
            sample.images[part.suffix] = None
            sample.waiting.append(part)
        elif part.data is not None or part.failure is not None:
            sample.texts[part.suffix] = part
        else:
            return
        self._num_bytes += part.num_bytes
        yield from self._ready(sample)
        while self._num_bytes > self._window_bytes or len(self._open) > _WINDOW_SAMPLES:
            yield from self._close(next(iter(self._open.values())))

    def end(self, *, broken: bool = False) -> Iterator[Joined]:
        """All that is left. Of a broken archive without the sample at the break, if it waits."""
        for sample in list(self._open.values()):
            at_break = broken and sample is self._last
            if not at_break or not (sample.waiting or not sample.images):
                yield from self._close(sample, forget=True)
        for key, (shape, failure) in self._imageless.items():
            yield Joined(key, None, {}, shape, failure)

    def _sample_of(self, part: Part) -> _Open:
        sample = self._open.get(part.key)
        if sample is None:
            shape, failure = self._imageless.pop(part.key, ((), None))
            shape = self._gone.pop(part.key, shape)
            images = [suffix for suffix in shape if is_image(suffix, self._member)]
            sample = _Open(
                part.key,
                is_one=self._member is not None,
                suffixes=dict.fromkeys(shape),
                images=dict.fromkeys(images),
                failure=failure,
            )
            self._open[part.key] = sample
        return sample

    def _ready(self, sample: _Open) -> Iterator[Joined]:
        """Images that have all texts that they need."""
        left: list[Part] = []
        for image in sample.waiting:
            texts = sample.texts_of(image)
            if self._needed <= texts.keys():
                self._num_bytes -= image.num_bytes
                yield sample.joined(image)
            else:
                left.append(image)
        sample.waiting = left

    def _close(self, sample: _Open, *, forget: bool = False) -> Iterator[Joined]:
        """Its images with what there is of texts; the rest of its members will come too late."""
        del self._open[sample.key]
        self._num_bytes -= sample.num_bytes
        for image in sample.waiting:
            yield sample.joined(image)
        if forget:
            if not sample.images:
                yield sample.joined(None)
            return
        suffixes = tuple(sample.suffixes)
        shape = self._shapes.setdefault(suffixes, suffixes)  # One for all samples that are alike.
        if sample.images:
            self._gone[sample.key] = shape
        else:
            self._imageless[sample.key] = shape, sample.failure


def is_image(suffix: str, member: str | None = None) -> bool:
    """Whether it is that of an image to caption.

    Args:
        member: as of `Joiner`.
    """
    if kind_of(suffix) not in IMAGE_SUFFIXES:
        return False
    return member is None or fnmatchcase(suffix, member.lower().removeprefix("."))


def kind_of(suffix: str) -> str:
    """What kind of file a member is: "jpg" of "left.jpg"."""
    return suffix.rpartition(".")[2]
