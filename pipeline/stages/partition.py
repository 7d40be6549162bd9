"""Encoded image -> uint8 partitions."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import pyarrow as pa

from hired_core.geometry.base import Geometry
from hired_core.images.decode import ImageError
from pipeline.isolation import CutOptions, CutSettings, DecodeLimits, shared_decoder
from pipeline.isolation.protocol import DEFAULT_FUNCTION, DEFAULT_OPTIONS
from pipeline.rows.row import Row, fail, is_active, to_table
from pipeline.rows.schemas import PARTITIONED_SCHEMA
from pipeline.stages.context import StageContext

STAGE = "partition"


class PartitionStage:
    """Decodes and cuts, in a child process; an image that cannot be used fails its row alone.

    Args:
        options: how images are cut.
        decoder: "module:name" of the function that the child runs; see `pipeline.isolation.cut`.
    """

    name: ClassVar[str] = STAGE

    def __init__(
        self,
        context: StageContext,
        geometry: Geometry,
        limits: DecodeLimits,
        options: CutOptions = DEFAULT_OPTIONS,
        *,
        decoder: str = DEFAULT_FUNCTION,
    ) -> None:
        self._meter = context.meter(STAGE)
        self._settings = CutSettings(
            limits=limits,
            geometry=geometry,
            options=options,
            function=decoder,
        )

    def __call__(self, table: pa.Table) -> pa.Table:
        rows: list[Row] = table.to_pylist()
        with self._meter.batch(rows):
            for row in filter(is_active, rows):
                self._partition(row)
        return to_table(rows, PARTITIONED_SCHEMA)

    def _partition(self, row: Row) -> None:
        try:
            image = shared_decoder(self._settings).partition(row["image"])
        except ImageError as exc:
            fail(row, STAGE, exc.code, exc)
        else:
            row.update(
                sha256=hashlib.sha256(row["image"]).hexdigest(),
                width=image.width,
                height=image.height,
                num_partitions=image.num_pieces,
                partitions=image.pixels,
            )
