"""What the engine would ask of a GPU, told on a machine without one.

The host is real and the device is not: tensors "on cuda" have shapes and no values
(`FakeTensorMode`), so that the code takes its CUDA paths. Looked on at are the kernels that are
launched, what travels, and where the host would wait. Numbers that the host asks the device for are
zeros. What this cannot tell: how long anything takes, and what a kernel does inside.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
_REPOSITORY = str(Path(__file__).parents[2])
_WHOLE_ON_CUDA = {"device", "_fused_rms_norm"}
_NO_KERNEL = {"_unsafe_view", "lift_fresh", "detach", "detach_", "device"}


@dataclass
class Seen:
    """Of one stretch of work.

    Attributes:
        kernels: launches by operator; attention is one of its own.
        uploads, downloads: copies from and to pinned memory, which nobody waits for.
        waits: each time that the host would wait for the device: why, and where.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    uploads: int = 0
    downloads: int = 0
    waits: list[str] = field(default_factory=list)

    @property
    def num_kernels(self) -> int:
        return sum(self.kernels.values())

    def to_json(self) -> dict[str, Any]:
        waits = Counter(self.waits)
        return {
            "kernels": self.num_kernels,
            "uploads": self.uploads,
            "downloads": self.downloads,
            "waits": sum(waits.values()),
            "waits_by_cause": dict(sorted(waits.items())),
            "kernels_by_operator": dict(sorted(self.kernels.items())),
        }


class DeviceTrace(TorchDispatchMode):
    """Carries out what concerns the host, and notes what concerns the device.

    Inside, `tracing` begins a new stretch and `seen` is the one under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = Seen()
        self._pinned: dict[int, Any] = {}

    def begin(self) -> Seen:
        self.seen = Seen()
        return self.seen

    def wait(self, why: str) -> None:
        self.seen.waits.append(f"{why} in {_where()}")

    def attention(self, real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """One kernel, whatever operators it is made of where there is no device."""

        def attend(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
            if not query.is_cuda:
                return real(query, key, value, **how)
            masked = isinstance(how.get("attn_mask"), Tensor)
            self.seen.kernels["attention, masked" if masked else "attention"] += 1
            with self.mute():
                return query.new_empty(*query.shape[:-1], value.shape[-1])

        return attend

    @contextmanager
    def mute(self) -> Iterator[None]:
        before, self.seen = self.seen, Seen()
        try:
            yield
        finally:
            self.seen = before

    @property
    def tolist(self) -> Any:
        """Of a tensor on the device: one copy, where fake tensors are asked item by item."""

        def tolist(tensor: Tensor) -> Any:
            self.wait("tolist")
            with unset_fake_temporarily():
                return torch.zeros(tensor.shape, dtype=tensor.dtype).tolist()

        return tolist

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name.partition("::")[2]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "is_pinned":
            return self._is_pinned(args[0])
        # In inference mode, operators come that are made of others; some only where CUDA is not.
        if name not in _WHOLE_ON_CUDA and func._can_decompose():
            with self:
                return func.decompose(*args, **kwargs)
        if name == "_pin_memory":
            with unset_fake_temporarily():
                return self._pin(args[0].clone())
        pinned = kwargs.get("pin_memory") and not _on_device(tensors, kwargs)
        if pinned:
            kwargs["pin_memory"] = False
        if not _on_device(tensors, kwargs):
            with unset_fake_temporarily():
                found = func(*args, **kwargs)
            return self._pin(found) if pinned else found
        return self._on_device(func, name, args, kwargs, tensors)

    def _on_device(
        self, func: Any, name: str, args: Any, kwargs: dict[str, Any], tensors: list[Tensor]
    ) -> Any:
        if name == "_local_scalar_dense":
            self.wait("item")
            return False if args[0].dtype == torch.bool else 0
        if name in ("_to_copy", "copy_"):
            self._note_copy(name, args, kwargs)
        elif name not in _NO_KERNEL and not _is_view(func):
            self.seen.kernels[name] += 1
        if name in ("nonzero", "masked_select") or (name == "index" and _by_mask(args[1])):
            self.wait("nonzero")
        if name == "index_put_" and args[2].device.type == "cpu":
            self.wait("upload")  # Inside, where operators are not seen.
        if name == "_to_copy" and torch.device(kwargs.get("device") or CUDA).type == "cpu":
            dtype = kwargs.get("dtype") or args[0].dtype
            with unset_fake_temporarily():
                return self._pin(torch.zeros(args[0].shape, dtype=dtype))
        return func(*args, **kwargs)

    def _note_copy(self, name: str, args: Any, kwargs: dict[str, Any]) -> None:
        source = args[1] if name == "copy_" else args[0]
        target = args[0].device if name == "copy_" else kwargs.get("device") or source.device
        goes, comes = torch.device(target).type == "cuda", source.device.type == "cuda"
        free = kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2])
        if goes and comes:
            self.seen.kernels[name] += 1
        elif goes and free and self._is_pinned(source):
            self.seen.uploads += 1
        elif comes and free:
            self.seen.downloads += 1
        else:
            self.wait("upload" if goes else "download")

    def _pin(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._pinned[storage._cdata] = storage  # Kept, or another could take its place.
        return tensor

    def _is_pinned(self, tensor: Tensor) -> bool:
        fake = isinstance(tensor, FakeTensor)
        return not fake and tensor.untyped_storage()._cdata in self._pinned


@contextmanager
def device_trace() -> Iterator[DeviceTrace]:
    """In here `torch.device("cuda")` can be computed on, and is looked on at."""
    _set_guard()
    trace = DeviceTrace()
    with ExitStack() as stack:
        whole = lambda *_: trace.wait("synchronize")  # noqa: E731
        stack.enter_context(mock.patch.object(torch.cuda, "synchronize", whole))
        stream = mock.Mock()
        stream.synchronize = lambda: trace.wait("synchronize")
        stack.enter_context(mock.patch.object(torch.cuda, "current_stream", lambda *_: stream))
        stack.enter_context(mock.patch.object(FakeTensor, "tolist", trace.tolist))
        attention = "scaled_dot_product_attention"
        stack.enter_context(mock.patch.object(F, attention, trace.attention(getattr(F, attention))))
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(trace)
        yield trace


def _on_device(tensors: list[Tensor], kwargs: dict[str, Any]) -> bool:
    asked = kwargs.get("device")
    if asked is not None and torch.device(asked).type == "cuda":
        return True
    return any(tensor.device.type == "cuda" for tensor in tensors)


def _by_mask(indices: list[Tensor | None]) -> bool:
    return any(each is not None and each.dtype == torch.bool for each in indices)


def _is_view(func: Any) -> bool:
    return any(
        result.alias_info is not None and not result.alias_info.is_write
        for result in func._schema.returns
    )


def _where() -> str:
    """file:function of this repository's code, tests apart, that is furthest inside."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(f"{_REPOSITORY}/hired_core"):
            return f"{Path(path).stem}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return "no code of ours"


def _set_guard() -> None:
    """A build of torch without CUDA knows no guard of its devices; that of "meta" does nothing.

    A build with CUDA does the same by itself (`FakeTensorMode.__enter__`).
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    cuda, meta = 1, 14  # c10::DeviceType
    known = (ctypes.c_void_p * 22).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    if known[cuda] is None:
        known[cuda] = known[meta]
