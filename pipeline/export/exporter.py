"""An export from the captions of an output to files at its destination.

Images are counted in an order that never changes: by shard, and within a shard as its captions are
sorted, or as its images are stored where these are read. A journal says how many are done. Files of
one piece are the same however often they are written, so that a killed export begins its last piece
again and goes on.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TextIO

import pyarrow as pa

from pipeline.export.formats.base import File, Format, Item, Link, Piece
from pipeline.export.formats.registry import FORMATS
from pipeline.export.formats.row_values import rows_of
from pipeline.export.groups import Captions, Group, groups_of, image_of, schema_of
from pipeline.export.journal import Journal, open_journal
from pipeline.export.names import folders_of, item_names
from pipeline.export.options import ExportOptions
from pipeline.export.originals import Originals
from pipeline.export.where import Where
from pipeline.export.wide import Wide, columns_of_prompts
from pipeline.ledger.existing import ExistingOutput, inspect_output
from pipeline.parts.sink import Sink
from pipeline.rows.errors import EXIT_DONE, ConfigError
from pipeline.rows.idsum import IdSum
from pipeline.rows.row import Row
from pipeline.sources import ReadOptions, redact_url
from pipeline.storage.store import Store

__all__ = ["export"]

PIECE_BYTES: Final = 256 * 1024**2
"""Of images; the files of a piece are in memory when they are stored."""

_THREADS: Final = 16


def export(options: ExportOptions, out: TextIO, log: TextIO) -> int:
    """Writes what is missing at the destination; returns the exit code.

    Raises:
        JobError: with its exit code and one line on what went wrong.
    """
    sink = Sink(url=options.output, storage_options=options.storage_options)
    existing = inspect_output(sink, overwrite=False)
    if existing.identity is None:
        raise ConfigError(f"output: there are no results at {redact_url(sink.url)}")
    groups = groups_of(existing.ledger.records())
    schema = schema_of(sink, groups)
    where = Where(options.where, schema) if options.where else lambda table: table
    captions = Captions(sink, schema, where)
    counts = [_count(captions.read(group)) for group in groups]
    store = Store(url=options.destination, storage_options=options.storage_options)
    journal = open_journal(store, _settings(options, existing, counts))
    if journal.complete:
        print(f"nothing to do: {_told(journal)} are at {redact_url(store.url)}", file=out)
        return EXIT_DONE
    if unfinished := sum(not record.complete for record in existing.ledger.records()):
        print(f"{unfinished:,} shards of the output are unfinished", file=log)
    if journal.items:
        print(f"{_told(journal)} are stored already", file=log)
    form = FORMATS[options.to](options.side_by_side)
    items = _Items(options, existing, captions, form)
    if options.prompts_as == "columns":
        names = sorted(set().union(*(count.names for count in counts)))
        items.widen(Wide(schema, names, columns_of_prompts(existing.identity.fields)))
    _store_pieces(items.after(journal.items, groups, counts), form, journal, options.rows_per_file)
    print(f"{_told(journal)} are at {redact_url(store.url)}", file=out)
    return EXIT_DONE


@dataclass(frozen=True)
class _Count:
    """Of a group: images, the ids of their captions, and names of prompts."""

    items: int
    ids: IdSum
    names: frozenset[str]


def _count(table: pa.Table) -> _Count:
    ids, names = table["image_id"].to_pylist(), table["prompt_name"].to_pylist()
    images = set(map(image_of, ids, names))
    return _Count(len(images), IdSum.of(ids), frozenset(names) - {None})


def _settings(
    options: ExportOptions, existing: ExistingOutput, counts: Sequence[_Count]
) -> dict[str, Any]:
    """What two attempts at one export have in common."""
    assert existing.identity is not None, "there are results"
    ids = sum((count.ids for count in counts), IdSum())
    wide = {} if options.prompts_as == "rows" else {"prompts_as": options.prompts_as}
    return wide | {
        "to": options.to,
        "where": options.where,
        "side_by_side": options.side_by_side,
        "rows_per_file": options.rows_per_file,
        "fingerprint": existing.identity.fingerprint,
        "captions": ids.rows,
        "captions_digest": ids.digest,
    }


def _told(journal: Journal) -> str:
    return f"{journal.rows:,} captions of {journal.items:,} images"


def _asked(prompt: Any) -> dict[str, Any]:
    """Prompts are in the captions; their names alone count, since no key may end like one."""
    if isinstance(prompt, Mapping):
        return {"prompts": tuple((name, "-") for name in prompt)}
    return {"prompt": "-"}


class _Items:
    """Images with their captions, group by group."""

    def __init__(
        self, options: ExportOptions, existing: ExistingOutput, captions: Captions, form: Format
    ) -> None:
        assert existing.identity is not None, "there are results"
        self._captions = captions
        self._needs_images = form.needs_images
        self._wide: Wide | None = None
        self._originals: Originals | None = None
        if form.needs_images or options.side_by_side == "link":
            columns = existing.identity.fields
            read_options = ReadOptions(
                **_asked(columns.get("prompt")),
                image_column=columns.get("image_column") or "image",
                id_column=columns.get("id_column"),
                tar_keys=columns.get("tar_keys") or ReadOptions.tar_keys,
                image_member=columns.get("image_member"),
                max_image_bytes=options.max_image_bytes,
                storage_options=options.storage_options,
            )
            self._originals = Originals(existing.identity, options.input_root, read_options)

    def widen(self, wide: Wide) -> None:
        """Give each image its captions as one row too."""
        self._wide = wide

    def after(
        self, num_done: int, groups: Sequence[Group], counts: Sequence[_Count]
    ) -> Iterator[tuple[Item, pa.Schema]]:
        """Those that are left, each with the schema of its rows; groups that are done stay
        closed."""
        folders = folders_of(groups)
        for group, count in zip(groups, counts, strict=True):
            skipped = min(num_done, count.items)
            num_done -= skipped
            if skipped < count.items:
                table = self._captions.read(group)
                items = self._of(group, folders[group.name], rows_of(table))
                schema = table.schema if self._wide is None else self._wide.schema
                yield from ((i, schema) for i in itertools.islice(items, skipped, None))

    def _of(self, group: Group, folder: str, rows: list[Row]) -> Iterator[Item]:
        by_image: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_image[image_of(row["image_id"], row["prompt_name"])].append(row)
        keys = {image_id: mine[0]["key"] for image_id, mine in by_image.items()}
        names = item_names(folder, keys)
        for image_id, image in self._images(group, keys, by_image):
            path = self._originals.path(group, keys[image_id]) if self._originals else None
            mine = tuple(by_image[image_id])
            wide = None if self._wide is None else self._wide.row(mine)
            yield Item(name=names[image_id], rows=mine, image=image, path=path, wide=wide)

    def _images(
        self, group: Group, keys: dict[str, str], rows: dict[str, list[Row]]
    ) -> Iterator[tuple[str, bytes | None]]:
        if not self._needs_images or self._originals is None:
            return ((image_id, None) for image_id in rows)
        digests = {image_id: mine[0]["sha256"] for image_id, mine in rows.items()}
        return self._originals.read(group, list(keys.values()), digests)


def _store_pieces(
    items: Iterator[tuple[Item, pa.Schema]], form: Format, journal: Journal, rows_per_file: int
) -> None:
    """Piece by piece, the journal behind each."""
    is_first = True
    with ThreadPoolExecutor(_THREADS) as pool:
        for piece in _pieces(items, journal.pieces, rows_per_file):
            files = list(form.files(piece))
            list(pool.map(lambda file: _put(journal.store, file), files))
            if is_first:
                _remove_half_written(journal.store, [name for name, _ in files])
            is_first = False
            journal.pieces += 1
            journal.items += len(piece.items)
            journal.rows += sum(len(item.rows) for item in piece.items)
            journal.save()
        list(pool.map(lambda file: _put(journal.store, file), form.closing()))
    journal.complete = True
    journal.save()


def _pieces(
    items: Iterator[tuple[Item, pa.Schema]], first: int, rows_per_file: int
) -> Iterator[Piece]:
    """Cut where there are enough rows or bytes; an image's captions stay together."""
    mine: list[Item] = []
    num_rows = num_bytes = 0
    index, schema = itertools.count(first), pa.schema([])
    for item, item_schema in items:
        schema = pa.unify_schemas([schema, item_schema])
        mine.append(item)
        num_rows += len(item.rows)
        # At most: some formats hold the image once for each caption.
        num_bytes += len(item.image or b"") * len(item.rows)
        if num_rows >= rows_per_file or num_bytes >= PIECE_BYTES:
            yield Piece(index=next(index), items=tuple(mine), schema=schema)
            mine, num_rows, num_bytes = [], 0, 0
    if mine:
        yield Piece(index=next(index), items=tuple(mine), schema=schema)


def _put(store: Store, file: File) -> None:
    name, content = file
    if isinstance(content, Link):
        store.link(name, content.path)
    else:
        store.put(name, content)


def _remove_half_written(store: Store, names: Sequence[str]) -> None:
    """What an attempt that was killed left of the files that are there now."""
    for folder in {name.rpartition("/")[0] for name in names} | {"_export"}:
        for name in store.half_written(folder):
            store.remove(name)
