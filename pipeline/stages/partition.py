"""Encoded image -> uint8 partitions."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from hired_core.decode import ImageError, decode_image
from hired_core.layout import LayoutError
from hired_core.models.spec import ModelSpec
from hired_core.partition import partition_image
from pipeline.records import PARTITIONED_SCHEMA
from pipeline.rows import Row, fail, is_active, to_table
from pipeline.stages.context import StageContext

STAGE = "partition"


class PartitionStage:
    """Decodes and cuts; an image that cannot be used fails its row alone."""

    def __init__(self, context: StageContext, spec: ModelSpec, *, max_pixels: int) -> None:
        self._meter = context.meter(STAGE)
        self._spec = spec
        self._max_pixels = max_pixels

    def __call__(self, table: pa.Table) -> pa.Table:
        rows: list[Row] = table.to_pylist()
        with self._meter.batch(rows):
            for row in filter(is_active, rows):
                self._partition(row)
        return to_table(rows, PARTITIONED_SCHEMA)

    def _partition(self, row: Row) -> None:
        try:
            image = decode_image(row["image"], max_pixels=self._max_pixels)
            partitions = partition_image(
                image, pinpoints=self._spec.pinpoints, partition_size=self._spec.partition_size
            )
        except ImageError as exc:
            fail(row, STAGE, exc.code, exc)
        except LayoutError as exc:
            fail(row, STAGE, "image_too_elongated", exc)
        else:
            row.update(
                sha256=hashlib.sha256(row["image"]).hexdigest(),
                width=image.width,
                height=image.height,
                num_partitions=partitions.shape[0],
                partitions=partitions.tobytes(),
            )
