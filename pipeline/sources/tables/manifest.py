"""Manifests: tables of paths and URLs in CSV, TSV and JSON lines, gzipped or not."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from pipeline.sources.carried.carried_values import Along, along_of_fields
from pipeline.sources.samples import (
    Failure,
    Prompt,
    Sample,
    broken_shard,
    constant_prompt,
    given_prompt,
    is_unicode,
    named_sample,
    no_prompt,
)
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.tables.columns import choose_columns
from pipeline.sources.tables.csv_records import BadRecord, bounded_lines, csv_records, delimiter_of
from pipeline.sources.tables.image_column import PATH_FIELD, USUAL_NAMES, Found, name_of_images
from pipeline.storage.files import local_path, open_input

__all__ = ["count_manifest_rows", "first_records", "manifest_schema", "read_manifest"]

_GZIP_MAGIC: Final = b"\x1f\x8b"
_DATA_ERRORS: Final = (EOFError, OSError, zlib.error, UnicodeError)  # StorageError is none.
_LOOKED_AT: Final = 32
_MAX_COUNTED_BYTES: Final = 256 * 1024**2
_Entry = dict[str, Any] | BadRecord


def read_manifest(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """The rows in order, a bad line among them; after a break in the file, one that tells of it.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    num_rows = 0
    try:
        with _open(shard, options) as text:
            entries = _entries(text, shard)
            first = list(itertools.islice(entries, _LOOKED_AT))
            name, failure = _chosen(first, shard, options)
            for entry in itertools.chain(first, entries):
                yield from _samples(entry, str(num_rows), name, failure, options)
                num_rows += 1
    except _DATA_ERRORS as exc:
        detail = f"after {num_rows} rows: {type(exc).__name__}: {exc}"
        code = "shard_truncated" if isinstance(exc, EOFError) else "shard_corrupt"
        yield broken_shard(Failure(code, detail), options)


def count_manifest_rows(shard: Shard, options: ReadOptions) -> int | None:
    """Images of a local file that is not too large, None of another: it is read to be counted."""
    if local_path(shard.url) is None or (shard.size_bytes or 0) > _MAX_COUNTED_BYTES:
        return None
    with contextlib.closing(read_manifest(shard, options)) as samples:
        return sum(1 for _ in samples)


def manifest_schema(shard: Shard, options: ReadOptions) -> pa.Schema | None:
    """The columns of the first records, all of them texts; None if there are no records."""
    schema = _columns(first_records(shard, options))
    return schema if schema.names else None


def first_records(shard: Shard, options: ReadOptions) -> list[dict[str, Any]]:
    """Fields of the first good records; of a CSV file without any, those of its header.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    try:
        with _open(shard, options) as text:
            found = list(itertools.islice(_entries(text, shard, empty=True), _LOOKED_AT))
    except _DATA_ERRORS:
        return []
    return [entry for entry in found if not isinstance(entry, BadRecord)]


@contextlib.contextmanager
def _open(shard: Shard, options: ReadOptions) -> Iterator[io.TextIOWrapper]:
    """The text, in UTF-8 or UTF-16; bytes that are no UTF-8 stay what they are.

    Raises:
        one of `_DATA_ERRORS`: if it is packed and nothing of it unpacks.
    """
    with open_input(shard.url, options.storage_options) as raw, io.BufferedReader(raw) as plain:
        packed = plain.peek(2)[:2] == _GZIP_MAGIC
        file: Any = io.BufferedReader(gzip.GzipFile(fileobj=plain)) if packed else plain
        # What fails here fails here alone: behind a broken header gzip tells of no data.
        wide = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        encoding, errors = ("utf-16", "replace") if wide else ("utf-8-sig", "surrogateescape")
        newline = "\n" if shard.format == "jsonl" else ""
        yield io.TextIOWrapper(file, encoding, errors, newline=newline)


def _entries(text: io.TextIOWrapper, shard: Shard, *, empty: bool = False) -> Iterator[_Entry]:
    """Fields of each record by name.

    Args:
        empty: begin with a record of the header's names without values.
    """
    lines = bounded_lines(text)
    if shard.format == "jsonl":
        yield from (_of_json(line) for line in lines if line is None or line.strip())
        return
    header = next(lines, None)
    if header is None:
        return
    wanted = "\t" if ".tsv" in shard.name.lower() else ","
    delimiter = delimiter_of(header, wanted)
    records = csv_records(itertools.chain([header], lines), delimiter)
    names = next(records, None)
    if isinstance(names, BadRecord):
        raise UnicodeError(f"the header does not parse: {names.problem}")
    if names is not None:
        if empty:
            yield dict.fromkeys(names)
        yield from (_of_record(record, names) for record in records)


def _of_record(record: list[str] | BadRecord, names: Sequence[str]) -> _Entry:
    """By name; names that two columns have stand for neither."""
    if isinstance(record, BadRecord):
        return record
    if len(record) > len(names):
        return BadRecord(f"{len(record)} fields, the header has {len(names)}: a comma unquoted?")
    times = Counter(names)
    pairs = itertools.zip_longest(names, record)
    return {name: value for name, value in pairs if times[name] == 1}


def _of_json(line: str | None) -> _Entry:
    if line is None:
        return BadRecord("the line is too long")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as exc:
        return BadRecord(f"no JSON: {exc}")
    return (
        fields if isinstance(fields, dict) else BadRecord(f"a {type(fields).__name__}, no object")
    )


def _chosen(
    first: Iterable[_Entry], shard: Shard, options: ReadOptions
) -> tuple[str, Failure | None]:
    """The column of images, and the failure of all rows if a CSV file lacks a column."""
    good = [entry for entry in first if not isinstance(entry, BadRecord)]
    schema = _columns(good)
    if shard.format == "csv" and good:
        choice = choose_columns(schema, options)
        return choice.image_column, choice.failure
    return name_of_images(
        dict(zip(schema.names, schema.types, strict=True)), options.image_column
    ), None


def _columns(records: Iterable[Mapping[str, Any]]) -> pa.Schema:
    """The names that records have, all of them texts; one that UTF-8 cannot carry is none."""
    names = dict.fromkeys(name for fields in records for name in fields)
    return pa.schema([pa.field(name, pa.string()) for name in names if is_unicode(name)])


def _samples(
    entry: _Entry, ordinal: str, name: str, failure: Failure | None, options: ReadOptions
) -> Iterator[Sample]:
    if isinstance(entry, BadRecord):
        bad = Failure("line_invalid", entry.problem)
        yield Sample(ordinal, None, constant_prompt(options), bad)
        return
    key = _key(entry.get(options.id_column or ""), ordinal)
    along = _along(entry, options)
    if failure is not None:
        yield Sample(key, None, constant_prompt(options), failure, along)
        return
    prompt = _prompt(entry, options)
    for image in _found(entry.get(name), name):
        yield named_sample(key + image.mark, None, image.place, image.why, prompt, along)


def _found(value: Any, name: str) -> list[Found]:
    """The images that a value names: a path or URL, an object with one, or a list of these."""
    if not isinstance(value, list):
        return [_one(value, name)]
    if not value:
        return [Found(None, why="an empty list")]
    images = [_one(each, name) for each in value]
    return [Found(None, each.place, f"#img{i}", each.why) for i, each in enumerate(images)]


def _one(value: Any, name: str) -> Found:
    if isinstance(value, Mapping):
        value = next(
            (v for n in (PATH_FIELD, *USUAL_NAMES) if isinstance(v := value.get(n), str)), None
        )
    if value is None or isinstance(value, str):
        return Found(None, value, why=f"no {name!r}")
    return Found(None, why=f"{name!r} is a {type(value).__name__}, wanted a path or URL")


def _key(value: Any, ordinal: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) and value != "" else ordinal


def _prompt(entry: Mapping[str, Any], options: ReadOptions) -> Prompt:
    if options.prompt_column is None:
        return constant_prompt(options)
    if options.prompt_column not in entry:
        return no_prompt(f"the line has no field {options.prompt_column!r}")
    return given_prompt(entry[options.prompt_column])


def _along(entry: Mapping[str, Any], options: ReadOptions) -> Along:
    if not options.columns_along:
        return Along()
    return along_of_fields(entry, options.carried, options.fields, options.max_carried_bytes)
