"""The column that images come from: bytes, a path or URL, a struct of both, or a list of these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "BYTES_FIELD",
    "IMAGE_TYPES",
    "PATH_FIELD",
    "USUAL_NAMES",
    "Found",
    "as_binary",
    "found_in",
    "is_binary",
    "is_image",
    "is_list",
    "is_string",
    "name_of_images",
]

BYTES_FIELD: Final = "bytes"
"""Where a struct has the image."""
PATH_FIELD: Final = "path"
"""Where it has what names the image: it counts where there are no bytes."""
USUAL_NAMES: Final = (
    *("path", "file_name", "filename", "filepath", "file_path", "image_path", "file"),
    *("url", "image_url", "img_url", "URL"),
)
"""Of columns that name images: looked for in this order."""
IMAGE_TYPES: Final = (
    "binary, a string (a path or URL), a struct with 'bytes' or 'path', or a list of these"
)
DEFAULT_NAME: Final = "image"


@dataclass(frozen=True, slots=True)
class Found:
    """One image as a table has it: its bytes, or what names it, or neither."""

    data: bytes | None
    place: bytes | str | None = None
    mark: str = ""
    """Of one in a list: '#img0', '#img1', ..."""
    why: str = "null"
    """What is told where there is neither."""


def name_of_images(there: Mapping[str, pa.DataType], wanted: str) -> str:
    """The column of images: `wanted`, or one of a usual name that holds paths or URLs.

    Only where 'image' is wanted, is not there, and no other column has bytes: a table of bytes is
    not to be fetched from the URLs that it tells of.
    """
    if wanted in there or wanted != DEFAULT_NAME or any(_has_bytes(t) for t in there.values()):
        return wanted
    named = (name for name in USUAL_NAMES if name in there and is_image(there[name]))
    return next(named, wanted)


def found_in(column: pa.Array) -> Iterator[Iterable[Found]]:
    """The images of each row, at least one: of no image it is told why there is none."""
    if not is_list(column.type):
        get = _getter(column)
        yield from ([get(i)] for i in range(len(column)))
        return
    for i in range(len(column)):
        values = column[i].values
        if values is None or not len(values):
            yield [Found(None, why="null" if values is None else "an empty list")]
            continue
        yield _marked(_getter(values), len(values))


def _marked(get: Callable[[int], Found], count: int) -> Iterator[Found]:
    """One by one: a list may hold many large images."""
    images = (get(i) for i in range(count))
    return (Found(each.data, each.place, f"#img{i}", each.why) for i, each in enumerate(images))


def _getter(values: pa.Array) -> Callable[[int], Found]:
    """Of an array of bytes, texts or structs: the image at an index, decoded when it is asked."""
    if is_string(values.type):
        texts = _places(values)
        return lambda i: Found(None, texts[i].as_py())
    if not pa.types.is_struct(values.type):
        return lambda i: Found(values[i].as_py())
    data, named = _field(values, BYTES_FIELD), _field(values, PATH_FIELD)
    places = None if named is None or not is_string(named.type) else _places(named)

    def get(i: int) -> Found:
        found = None if data is None else data[i].as_py()
        return Found(found, None if places is None or found is not None else places[i].as_py())

    return get


def _places(values: pa.Array) -> pa.Array:
    """Texts as bytes, which may be no UTF-8; an entry of a dictionary is there once."""
    if pa.types.is_dictionary(values.type):
        entries = values.dictionary.cast(pa.large_binary())
        return pa.DictionaryArray.from_arrays(values.indices, entries)
    return values.cast(pa.large_binary())


def _field(values: pa.Array, name: str) -> pa.Array | None:
    there = values.type.get_field_index(name) >= 0
    return pc.struct_field(values, name) if there else None


def is_image(kind: Any) -> bool:
    """Whether images can come from a column of this type."""
    kind = kind.value_type if is_list(kind) else kind
    if not pa.types.is_struct(kind):
        return is_binary(kind) or is_string(kind)
    bytes_at, path_at = kind.get_field_index(BYTES_FIELD), kind.get_field_index(PATH_FIELD)
    if bytes_at >= 0 and not _is_null_or(is_binary, kind.field(bytes_at).type):
        return False
    has_path = path_at >= 0 and is_string(kind.field(path_at).type)
    return has_path or (bytes_at >= 0 and is_binary(kind.field(bytes_at).type))


def _is_null_or(fits: Callable[[Any], bool], kind: Any) -> bool:
    return bool(pa.types.is_null(kind)) or fits(kind)


def _has_bytes(kind: Any) -> bool:
    kind = kind.value_type if is_list(kind) else kind
    fields: Sequence[Any] = [kind]
    if pa.types.is_struct(kind):
        fields = [kind.field(i).type for i in range(kind.num_fields)]
    return any(is_binary(each) for each in fields)


def _value_type(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def is_binary(kind: Any) -> bool:
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(fits(_value_type(kind)) for fits in (*kinds, pa.types.is_binary_view))


def is_string(kind: Any) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(fits(_value_type(kind)) for fits in kinds)


def is_list(kind: Any) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    views = (pa.types.is_list_view, pa.types.is_large_list_view)
    return any(fits(kind) for fits in (*kinds, *views))


def as_binary(column: Any) -> Any:
    """Strings as bytes: neither Parquet nor Arrow makes sure that they are UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if is_list(column.type):
        return column.cast(pa.large_list(pa.large_binary()))
    return column.cast(pa.large_binary())
