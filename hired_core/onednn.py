"""Linear layers on CPUs whose weights lie as oneDNN reads them, and what it does on the way out.

torch multiplies float32 by another library, which reorders weights call by call; oneDNN takes them
reordered once, and adds or multiplies what it has just computed while that is still in cache. The
functions take any linear layer and do the same in steps where it is none of these.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

_ROWS = 1024
"""That reordering has in mind; calls may have any number."""


class OneDnnLinear(nn.Module):
    """`nn.Linear` in float32; results differ by rounding. Rows [..., in] to [..., out]."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _ROWS)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor, then: str = "none") -> Tensor:
        """`then`: "swish" is SiLU."""
        return _ops().default(x, self.weight, self.bias, then, [], "")  # type: ignore[no-any-return]  # An operator.

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        """A plain layer with the same weights: a copy may be converted, which this cannot."""
        sides = self.in_features, self.out_features
        plain: nn.Linear = skip_init(nn.Linear, *sides, bias=self.bias is not None)
        with torch.no_grad():
            plain.weight.copy_(self.weight.to_dense())
            if self.bias is not None:
                plain.bias.copy_(self.bias)
        plain.requires_grad_(False)
        return plain

    def with_other(self, x: Tensor, other: Tensor, how: str) -> Tensor:
        """`how`: "add" or "mul", by an array of the result's shape."""
        return _ops().binary(x, other, self.weight, self.bias, how)  # type: ignore[no-any-return]  # An operator.


@cache
def is_there() -> bool:
    """Whether this torch has these operators, and they do what is expected of them."""
    if not torch.backends.mkldnn.is_available():
        return False
    linear, x = skip_init(nn.Linear, 64, 32), torch.linspace(-1, 1, 3 * 64).view(3, 64)
    with torch.no_grad():
        linear.weight.copy_(torch.linspace(-1, 1, 32 * 64).view(32, 64))
        linear.bias.fill_(0.5)
    try:
        with torch.inference_mode():
            found = OneDnnLinear(linear)
            exact = linear(x)
            pairs = [
                (found(x), exact),
                (silu(found, x), F.silu(exact)),
                (plus(found, x, exact), 2 * exact),
                (times(found, x, exact), exact * exact),
            ]
    except (RuntimeError, AttributeError, TypeError):
        return False  # They are torch's own and may change; without them all goes as before.
    return all(torch.allclose(one, other, atol=1e-4) for one, other in pairs)


def silu(linear: Any, x: Tensor) -> Tensor:
    """SiLU of the layer's output; in a new array."""
    if isinstance(linear, OneDnnLinear):
        return linear(x, "swish")  # type: ignore[no-any-return]  # A module's call.
    return F.silu(linear(x), inplace=True)


def plus(linear: Any, x: Tensor, other: Tensor) -> Tensor:
    """The layer's output and `other`, of its shape; neither is written."""
    if isinstance(linear, OneDnnLinear):
        return linear.with_other(x, other, "add")
    return other + linear(x)  # type: ignore[no-any-return]  # A module's call.


def times(linear: Any, x: Tensor, other: Tensor) -> Tensor:
    """The layer's output times `other`, of its shape, which may be written."""
    if isinstance(linear, OneDnnLinear):
        return linear.with_other(x, other, "mul")
    return other.mul_(linear(x))


def _ops() -> Any:
    return torch.ops.mkldnn._linear_pointwise
