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
from dataclasses import dataclass
from typing import Any, TextIO

import pyarrow as pa

from pipeline.export.formats.base import Format, Item
from pipeline.export.formats.registry import FORMATS
from pipeline.export.formats.row_values import rows_of
from pipeline.export.groups import Captions, Group, groups_of, image_of, schema_of
from pipeline.export.journal import Journal, open_journal
from pipeline.export.names import folders_of, item_names
from pipeline.export.options import ExportOptions
from pipeline.export.originals import Originals
from pipeline.export.pieces import cut, store_pieces
from pipeline.export.where import Where
from pipeline.export.wide import Wide, columns_of_prompts, names_of_prompts
from pipeline.ledger.existing import ExistingOutput, inspect_output
from pipeline.parts.sink import Sink
from pipeline.rows.errors import EXIT_DONE, ConfigError
from pipeline.rows.idsum import IdSum
from pipeline.rows.row import Row
from pipeline.sources import ReadOptions, redact_url
from pipeline.storage.store import Store

__all__ = ["export"]


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
    where = (lambda table: table) if options.where is None else Where(options.where, schema)
    captions = Captions(sink, schema, where)
    counts = [_count(captions.read(group)) for group in groups]
    into = Store(url=options.destination, storage_options=options.storage_options, setting="into")
    journal = open_journal(into, _settings(options, existing, counts))
    if journal.complete:
        print(f"nothing to do: {_told(journal)} are at {redact_url(into.url)}", file=out)
        return EXIT_DONE
    if unfinished := sum(not record.complete for record in existing.ledger.records()):
        print(f"{unfinished:,} shards of the output are unfinished", file=log)
    if journal.items:
        print(f"{_told(journal)} are stored already", file=log)
    form = FORMATS[options.to](options.side_by_side)
    items = _Items(options, existing, captions, form)
    if options.prompts_as == "columns":
        fields = existing.identity.fields
        names = names_of_prompts(fields, set().union(*(count.names for count in counts)))
        items.widen(Wide(schema, names, columns_of_prompts(fields)))
    left = items.after(journal.items, groups, counts)
    pieces = cut(left, items.schema, journal.pieces, options.rows_per_file)
    store_pieces(pieces, form, journal)
    print(f"{_told(journal)} are at {redact_url(into.url)}", file=out)
    return EXIT_DONE


@dataclass(frozen=True)
class _Count:
    """Of a group: images, ids of their captions, these with what is in them, names of prompts."""

    items: int
    ids: IdSum
    content: IdSum
    names: frozenset[str]


def _count(table: pa.Table) -> _Count:
    columns = ("image_id", "prompt_name", "sha256", "text")
    ids, names, *content = (table[name].to_pylist() for name in columns)
    images = set(map(image_of, ids, names))
    marks = map("{}\n{}\n{}".format, ids, *content)
    return _Count(len(images), IdSum.of(ids), IdSum.of(marks), frozenset(names) - {None})


def _settings(
    options: ExportOptions, existing: ExistingOutput, counts: Sequence[_Count]
) -> dict[str, Any]:
    """What two attempts at one export have in common."""
    assert existing.identity is not None, "there are results"
    ids = sum((count.ids for count in counts), IdSum())
    content = sum((count.content for count in counts), IdSum())
    wide = {} if options.prompts_as == "rows" else {"prompts_as": options.prompts_as}
    return wide | {
        "to": options.to,
        "where": options.where,
        "side_by_side": options.side_by_side,
        "rows_per_file": options.rows_per_file,
        "fingerprint": existing.identity.fingerprint,
        "captions": ids.rows,
        "captions_digest": ids.digest,
        "content_digest": content.digest,
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
                image_root=columns.get("image_root"),
                tar_keys=columns.get("tar_keys") or ReadOptions.tar_keys,
                image_member=columns.get("image_member"),
                max_image_bytes=options.max_image_bytes,
                storage_options=options.storage_options,
            )
            self._originals = Originals(existing.identity, options.input_root, read_options)

    def widen(self, wide: Wide) -> None:
        """Give each image its captions as one row too."""
        self._wide = wide

    @property
    def schema(self) -> pa.Schema:
        """Of the rows that stand for images."""
        return self._captions.schema if self._wide is None else self._wide.schema

    def after(
        self, num_done: int, groups: Sequence[Group], counts: Sequence[_Count]
    ) -> Iterator[Item]:
        """Those that are left; groups that are done stay closed."""
        folders = folders_of(groups)
        for group, count in zip(groups, counts, strict=True):
            skipped = min(num_done, count.items)
            num_done -= skipped
            if skipped < count.items:
                rows = rows_of(self._captions.read(group))
                items = self._of(group, folders[group.name], rows)
                yield from itertools.islice(items, skipped, None)

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
