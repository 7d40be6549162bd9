"""uint8 partitions -> the visual tokens that are kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from hired_core.backends.device_queue import DeviceQueue
from hired_core.images.source import content_seed
from hired_core.vlm.vision_half import KeptTokens, VisionHalf
from pipeline.resources.resolved import Resolved
from pipeline.rows.row import Row, fail, is_active, to_rows, to_table
from pipeline.rows.schemas import SELECTED_SCHEMA
from pipeline.stages.context import StageContext, model_errors

STAGE = "select"


class SelectStage:
    """Holds the vision tower; encodes each distinct image of a batch once."""

    name: ClassVar[str] = STAGE

    def __init__(
        self, context: StageContext, resolved: Resolved, queue: DeviceQueue | None = None
    ) -> None:
        device, reduction = context.device(), resolved.config.reduction
        with model_errors():
            self._spec = resolved.spec_here()
            self._vision = VisionHalf.load(
                self._spec,
                reduction,
                device=device,
                dtype=resolved.dtype,
                quantized=resolved.config.model.quantize_vision,
            )
        self._most = reduction.num_after(self._spec.nominal_tokens)
        self._queue = queue or DeviceQueue()
        self._meter = context.meter(STAGE, str(device))
        self._schema = context.extras.on_the_way(SELECTED_SCHEMA)

    def __call__(self, table: pa.Table) -> pa.Table:
        rows = to_rows(table)
        with self._meter.batch(rows) as record:
            active = [row for row in rows if is_active(row)]
            record["busy_sec"] = self._queue.run(lambda: _timed(lambda: self._select(active)))
            record["num_images"] = len(active)
            for key in ("visual_tokens_dense", "visual_tokens_kept"):
                record[key] = sum(row.get(key) or 0 for row in active)
        return to_table(rows, self._schema)

    def _select(self, rows: list[Row]) -> None:
        """Encodes each distinct image once. What one cannot be encoded for, its rows fail with."""
        distinct = list({row["sha256"]: row for row in rows}.values())
        found = zip((row["sha256"] for row in distinct), self._encode_each(distinct), strict=True)
        ends = dict(found)
        for row in rows:
            end = ends[row["sha256"]]
            if isinstance(end, Exception):
                fail(row, STAGE, "encoding_failed", f"{type(end).__name__}: {end}")
            else:
                row.update(end)

    def _encode_each(self, rows: list[Row]) -> list[dict[str, Any] | Exception]:
        """Together; should that fail, one by one, so that only the row at fault is lost."""
        found = self._encode_together(rows)
        return [self._encode_alone(row) for row in rows] if found is None else list(found)

    def _encode_together(self, rows: list[Row]) -> list[dict[str, Any]] | None:
        """None if it fails; its tensors are gone by then, as no traceback holds them any more."""
        try:
            return self._encode(rows)
        except torch.AcceleratorError:
            raise  # The device is lost to this process: every later row would fail as well.
        except (RuntimeError, ValueError, IndexError):
            return None

    def _encode_alone(self, row: Row) -> dict[str, Any] | Exception:
        try:
            return self._encode([row])[0]
        except torch.AcceleratorError:
            raise
        except (RuntimeError, ValueError, IndexError) as exc:
            return exc.with_traceback(None)

    def _encode(self, rows: list[Row]) -> list[dict[str, Any]]:
        if not rows:
            return []
        tokens = self._vision(
            [self._pixels(row) for row in rows],
            [(row["height"], row["width"]) for row in rows],
            [content_seed(row["sha256"]) for row in rows],
        )
        return [_columns(t, self._most) for t in tokens]

    def _pixels(self, row: Row) -> npt.NDArray[np.uint8]:
        size = self._spec.geometry.piece_size
        pixels = np.frombuffer(row["partitions"], dtype=np.uint8)
        return pixels.reshape(-1, 3, size, size)


def _timed(work: Callable[[], None]) -> float:
    """Seconds that it takes, waiting for its turn not counted."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _columns(tokens: KeptTokens, most: int) -> dict[str, Any]:
    """`most` are left of them behind the language model's last layer."""
    features = tokens.features
    # numpy has no bfloat16, and float16 has the finer mantissa at half the size of float32.
    half = features if features.dtype == torch.float32 else features.half()
    return {
        "num_partitions": len(tokens.budgets),
        "visual_tokens_dense": tokens.num_dense,
        "visual_tokens_kept": min(features.shape[0], most),
        "partition_budgets": tokens.budgets.tolist(),
        "features": half.contiguous().numpy().tobytes(),
        "projected": tokens.projected,
        "place": tokens.place.to(torch.int32).numpy().tobytes(),
    }
