"""Whether a method, and how it is asked for, fits how a model's images are cut.

What does not is refused by name before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from hired_core.errors import SettingError
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.base import Method
from hired_core.vlm.settings import ReductionSettings


def require_fit(spec: ModelSpec, settings: ReductionSettings) -> None:
    """Raises `SettingError` with the reason."""
    settings.check_tower(has_cls=spec.has_cls)
    if spec.geometry.max_side is None:
        return
    method, options = settings.resolve()
    whose = f"images of {spec.family} are encoded as a whole"
    for reason in misfits(method):
        raise SettingError(f"method: {settings.method} {reason}, and {whose}")
    if method.skips(options):
        raise SettingError(f"skip_below: partitions are left out unencoded, and {whose}")
    if settings.positions == "compact":
        raise SettingError(
            f"positions: compact, but {spec.family} tells row and column of each visual token, "
            "which kept ones keep; leave it out"
        )


def misfits(method: Method) -> Iterator[str]:
    """Why a method does not fit images without a full-image; nothing of one that does."""
    if method.shrinks:
        yield "encodes squares at fewer pixels (give --image-options max_pixels=... instead)"
    elif method.needs_squares:
        yield "resizes the tokens of square partitions, which cells are not"
    elif method.needs_full_image:
        yield "looks at the full-image beside sub-images"
