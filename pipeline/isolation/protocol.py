"""What a worker and its decoding child say to each other, over one stream socket.

The child is told its settings when it starts, as JSON, and says `READY`. Then, for each image:

    request   u64 length | image bytes
    answer    u8 kind | u32 width | u32 height | u32 partitions | u64 length | text

Partitions are in memory that both have mapped: through the socket's small buffer the two would take
turns on a busy machine. `length` then counts bytes there, and no text follows.

The child handles untrusted bytes, so its answers are untrusted too: sizes are checked before
anything is read into memory, and nothing is unpickled.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Final

from hired_core.canvas import Size
from hired_core.decode import ImageError
from pipeline.errors import ROW_ERROR_CODES

READY: Final = b"ready\n"
REQUEST: Final = struct.Struct("<Q")
ANSWER: Final = struct.Struct("<BIIIQ")

PARTITIONED: Final = 0  # uint8 [partitions, 3, S, S] are in the shared memory
REFUSED: Final = 1  # with the text "code detail": the image cannot be used
BROKEN: Final = 2  # with a traceback: the code cannot be used, the job has to stop

MAX_TEXT_BYTES: Final = 16 * 1024
DEFAULT_FUNCTION: Final = "pipeline.isolation.cut:cut"


class BadAnswer(Exception):
    """The child said something that it never says in its right mind."""


@dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What one image may cost. `max_mib` is memory beyond that of the idle child."""

    max_pixels: int
    timeout_sec: float
    max_mib: int


@dataclass(frozen=True, kw_only=True)
class CutSettings:
    """All that a child has to know.

    Attributes:
        function: "module:name" of what the child calls with the image and these settings, and
            which returns (height, width) and the partitions; see `pipeline.isolation.cut`.
    """

    limits: DecodeLimits
    pinpoints: tuple[Size, ...]
    partition_size: int
    function: str = DEFAULT_FUNCTION

    @property
    def partition_bytes(self) -> int:
        return 3 * self.partition_size**2

    @property
    def max_partitions(self) -> int:
        return 1 + max(height * width for height, width in self.pinpoints) // self.partition_size**2

    @property
    def shared_bytes(self) -> int:
        return self.max_partitions * self.partition_bytes

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CutSettings:
        fields = json.loads(text)
        fields["limits"] = DecodeLimits(**fields["limits"])
        fields["pinpoints"] = tuple((height, width) for height, width in fields["pinpoints"])
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class PartitionedImage:
    """Size of the upright image, and its uint8 [P, 3, S, S] as bytes."""

    width: int
    height: int
    num_partitions: int
    pixels: bytes


@dataclass(frozen=True, kw_only=True)
class AnswerHeader:
    """The fixed part of an answer, checked: `length` bytes may be read."""

    kind: int
    width: int
    height: int
    num_partitions: int
    length: int

    @classmethod
    def parse(cls, data: bytes, settings: CutSettings) -> AnswerHeader:
        """Raises `BadAnswer` unless the sizes are those of an answer under `settings`."""
        kind, width, height, count, length = ANSWER.unpack(data)
        if kind == PARTITIONED:
            sized = 1 <= width * height <= settings.limits.max_pixels
            sized = sized and 1 <= count <= settings.max_partitions
            ok = sized and length == count * settings.partition_bytes
        else:
            ok = kind in (REFUSED, BROKEN) and length <= MAX_TEXT_BYTES
        if not ok:
            raise BadAnswer(
                f"an answer of kind {kind}, {width} x {height}, {count}, {length} bytes"
            )
        return cls(kind=kind, width=width, height=height, num_partitions=count, length=length)


def parse_refusal(body: bytes) -> ImageError:
    """What the child refused the image with; raises `BadAnswer` unless the code is one of ours."""
    code, _, detail = body.decode("utf-8", "replace").partition(" ")
    if code not in ROW_ERROR_CODES:
        raise BadAnswer("a refusal without a code")
    return ImageError(code, detail)
