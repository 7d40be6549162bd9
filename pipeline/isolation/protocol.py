"""What a worker and its decoding child say to each other, over one stream socket.

The child is told its settings when it starts, as JSON, and says `READY`. Then, for each image:

    request   u64 length | image bytes
    answer    u8 kind | u32 width | u32 height | u32 count | u64 length | u16 notes | notes or text

Pixels are in memory that both have mapped: through the socket's small buffer the two would take
turns on a busy machine. `length` then counts bytes there, and `notes` those of the notes on the
image that follow, with commas between; no text does. Where a perceptual hash is asked for, it comes
last: u8 whether there is one | i64.

The child handles untrusted bytes, so its answers are untrusted too: sizes are checked before
anything is read into memory, and nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass
from typing import Final, Literal

from hired_core.geometry.base import Geometry, from_json, to_json
from hired_core.geometry.canvas import LayoutError, Size
from hired_core.images.decode import ImageError
from hired_core.images.notes import are_notes
from pipeline.rows.errors import ROW_ERROR_CODES

READY: Final = b"ready\n"
REQUEST: Final = struct.Struct("<Q")
ANSWER: Final = struct.Struct("<BIIIQH")
PHASH: Final = struct.Struct("<?q")

PARTITIONED: Final = 0  # uint8 [count, 3, S, S] are in the shared memory
REFUSED: Final = 1  # with the text "code detail": the image cannot be used
BROKEN: Final = 2  # with a traceback: the code cannot be used, the job has to stop
DECODED: Final = 3  # uint8 [height / count, width / count, 3] are there, for the parent to cut

MAX_TEXT_BYTES: Final = 16 * 1024
MAX_NOTES_BYTES: Final = 256
DEFAULT_FUNCTION: Final = "pipeline.isolation.cut:cut"


Resize = Literal["exact", "fast"]
Truncated = Literal["refuse", "accept"]


class BadAnswer(Exception):
    """The child said something that it never says in its right mind."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What one image may cost, and lack.

    Attributes:
        max_mib: memory beyond that of the idle child.
        truncated: what is done with an image that ends in the middle: refused, or cut to the part
            that is there.
    """

    max_pixels: int
    timeout_sec: float
    max_mib: int
    truncated: Truncated = "refuse"


@dataclass(frozen=True, kw_only=True)
class CutOptions:
    """How images are made into partitions; each changes pixels.

    Attributes:
        resize: "exact", in the child, by Pillow; "fast", in the parent, by torch, which would cost
            each child a second to start and 140 MB.
        reduced_decode: JPEGs are decoded at 1/2, 1/4 or 1/8 where cutting needs no more.
    """

    resize: Resize = "exact"
    reduced_decode: bool = False


DEFAULT_OPTIONS: Final = CutOptions()


@dataclass(frozen=True, kw_only=True)
class CutSettings:
    """All that a child has to know.

    Attributes:
        function: "module:name" of what the child calls with the image and these settings, and
            which returns a `Cut`; see `pipeline.isolation.cut`.
        phash: whether to tell what the image looks like.
    """

    limits: DecodeLimits
    geometry: Geometry
    options: CutOptions = DEFAULT_OPTIONS
    function: str = DEFAULT_FUNCTION
    phash: bool = False

    @property
    def piece_bytes(self) -> int:
        return 3 * self.geometry.piece_size**2

    @property
    def shared_bytes(self) -> int:
        """Address space; pages are taken up as they are written."""
        if self.options.resize == "fast":
            return 3 * self.limits.max_pixels
        return self.geometry.max_pieces * self.piece_bytes

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"geometry": to_json(self.geometry)})

    @classmethod
    def from_json(cls, text: str) -> CutSettings:
        fields = json.loads(text)
        fields["limits"] = DecodeLimits(**fields["limits"])
        fields["options"] = CutOptions(**fields["options"])
        fields["geometry"] = from_json(fields["geometry"])
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class PartitionedImage:
    """Size of the upright image, what `Geometry.cut` gives of it as bytes, and notes on it.

    Attributes:
        num_pieces: squares in `pixels`, uint8 [num_pieces, 3, S, S].
        phash: int64 (`pipeline.isolation.likeness`), if it was asked for and there is one.
    """

    width: int
    height: int
    num_pieces: int
    pixels: bytes
    notes: tuple[str, ...] = ()
    phash: int | None = None


@dataclass(frozen=True, kw_only=True)
class AnswerHeader:
    """The fixed part of an answer, checked: `length` and `notes_length` bytes may be read."""

    kind: int
    width: int
    height: int
    count: int
    length: int
    notes_length: int = 0

    @classmethod
    def parse(cls, data: bytes, settings: CutSettings) -> AnswerHeader:
        """Raises `BadAnswer` unless the sizes are those of an answer under `settings`."""
        kind, width, height, count, length, notes = ANSWER.unpack(data)
        header = cls(
            kind=kind, width=width, height=height, count=count, length=length, notes_length=notes
        )
        if not header._is_of(settings):
            raise BadAnswer(
                f"an answer of kind {kind}, {width} x {height}, {count}, {length} bytes, {notes}"
            )
        return header

    @property
    def decoded_size(self) -> Size:
        """(height, width) of what is in the shared memory after `DECODED`."""
        return self.height // self.count, self.width // self.count

    def _is_of(self, settings: CutSettings) -> bool:
        if self.kind in (REFUSED, BROKEN):
            return self.length <= MAX_TEXT_BYTES and not self.notes_length
        if self.notes_length > MAX_NOTES_BYTES:
            return False
        if self.kind != (DECODED if settings.options.resize == "fast" else PARTITIONED):
            return False
        if self.count < 1 or not 1 <= self.width * self.height <= settings.limits.max_pixels:
            return False
        if self.kind == DECODED:
            whole = self.height % self.count == self.width % self.count == 0
            fits = whole and self.length == 3 * math.prod(self.decoded_size)
            return fits and _can_be_cut((self.height, self.width), settings.geometry)
        return (
            self.count <= settings.geometry.max_pieces
            and self.length == self.count * settings.piece_bytes
        )


def _can_be_cut(size: Size, geometry: Geometry) -> bool:
    try:
        geometry.check(size)
    except LayoutError:
        return False
    return True


def parse_notes(body: bytes) -> tuple[str, ...]:
    """The notes on an image; raises `BadAnswer` unless all are of `NOTES`."""
    notes = body.decode("ascii", "replace").split(",") if body else []
    if not are_notes(notes):
        raise BadAnswer("notes that are none")
    return tuple(notes)


def parse_refusal(body: bytes) -> ImageError:
    """What the child refused the image with; raises `BadAnswer` unless the code is one of ours."""
    code, _, detail = body.decode("utf-8", "replace").partition(" ")
    if code not in ROW_ERROR_CODES:
        raise BadAnswer("a refusal without a code")
    return ImageError(code, detail)
