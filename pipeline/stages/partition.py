"""Encoded image -> uint8 partitions."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import ClassVar

import pyarrow as pa

from hired_core.geometry.base import Geometry
from hired_core.images.decode import ImageError
from hired_core.images.notes import kind_of
from pipeline.copies.claims import Finder
from pipeline.isolation import CutOptions, CutSettings, DecodeLimits, shared_decoder
from pipeline.isolation.protocol import DEFAULT_FUNCTION, DEFAULT_OPTIONS
from pipeline.rows.row import Row, fail, is_active, to_rows, to_table
from pipeline.rows.schemas import PARTITIONED_SCHEMA
from pipeline.stages.context import StageContext
from pipeline.stages.met_before import MetBefore

STAGE = "partition"


class PartitionStage:
    """Decodes and cuts, in a child process; an image that cannot be used fails its row alone.

    Args:
        options: how images are cut.
        registry: where to ask whether an image was met before; None asks nobody.
        likeness: whether to ask for those that look like it, too.
        decoder: "module:name" of the function that the child runs; see `pipeline.isolation.cut`.
    """

    name: ClassVar[str] = STAGE

    def __init__(
        self,
        context: StageContext,
        geometry: Geometry,
        limits: DecodeLimits,
        options: CutOptions = DEFAULT_OPTIONS,
        registry: Finder | None = None,
        likeness: bool = False,
        *,
        decoder: str = DEFAULT_FUNCTION,
    ) -> None:
        self._meter = context.meter(STAGE)
        self._met_before = None if registry is None else MetBefore(registry, likeness=likeness)
        self._schema = context.extras.on_the_way(PARTITIONED_SCHEMA)
        self._settings = CutSettings(
            limits=limits,
            geometry=geometry,
            options=options,
            function=decoder,
            phash=likeness,
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = to_rows(table)
        with self._meter.batch(rows) as record:
            if self._met_before is not None:
                self._met_before.by_bytes(rows)
            for row in filter(is_active, rows):
                self._partition(row)
            if self._met_before is not None:
                self._met_before.by_likeness(rows)
            record["image_notes"] = _counted(rows)
        return to_table(rows, self._schema)

    def _partition(self, row: Row) -> None:
        try:
            image = shared_decoder(self._settings).partition(row["image"])
        except ImageError as exc:
            fail(row, STAGE, exc.code, exc)
        else:
            row.update(
                sha256=row.get("sha256") or hashlib.sha256(row["image"]).hexdigest(),
                width=image.width,
                height=image.height,
                phash=image.phash,
                num_partitions=image.num_pieces,
                partitions=image.pixels,
                image_notes=list(image.notes),
            )


def _counted(rows: list[Row]) -> str | None:
    """How many images have a note of each kind, as JSON; None if none has any."""
    times = Counter(kind_of(note) for row in rows for note in row.get("image_notes") or ())
    return json.dumps(times) if times else None
