"""The language of templates: Jinja's sandbox, less what lets a value cost time or memory.

A template is the user's own; values are not. So no value may say how long a text becomes (widths,
repetitions, formats), loops are counted, and nothing is random.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["TICK", "Budget", "TemplateSandbox"]

TICK: Final = "__tick"
_STEPS: Final = 10_000
_CPU_SEC: Final = 1.0
_GROWN_CHARS: Final = 1_000_000
_OTHER_FILES: Final = (nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)
_FILTERS: Final = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items"),
    *("join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr"),
    *("replace", "reverse", "round", "select", "selectattr", "sort", "string", "striptags", "sum"),
    *("title", "trim", "truncate", "unique", "upper", "wordcount"),
)
_METHODS: Final = frozenset(
    (
        *("capitalize", "casefold", "count", "endswith", "find", "get", "index", "isalnum"),
        *("isalpha", "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isoformat"),
        *("isspace", "istitle", "isupper", "items", "keys", "lower", "lstrip", "partition"),
        *("removeprefix", "removesuffix", "rfind", "rpartition", "rsplit", "rstrip", "split"),
        *("splitlines", "startswith", "strip", "swapcase", "title", "upper", "values"),
        *("year", "month", "day", "hour", "minute", "second", "microsecond"),
    )
)


class Budget:
    """What one rendering may take: turns of its loops, and seconds of a processor."""

    def __init__(self) -> None:
        self._left = _STEPS
        self._end = time.thread_time() + _CPU_SEC

    def tick(self) -> None:
        self._left -= 1
        if self._left < 0 or time.thread_time() > self._end:
            raise SecurityError(f"its loops take more than {_STEPS} turns or {_CPU_SEC:g} s")


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Filters and methods are those of lists; a name that is nowhere is an error."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def __init__(self, finalize: Any) -> None:
        super().__init__(undefined=StrictUndefined, finalize=finalize)
        self.filters = {name: self.filters[name] for name in _FILTERS}
        self.filters |= {"replace": _replace, "join": _join}
        self.globals = {"range": self.globals["range"]}

    def wrap_str_format(self, value: Any) -> None:
        """Not even the sandbox's own `format`: widths are in the text."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        ours = type(obj).__module__.startswith("jinja2")  # `loop.index` and the like.
        return bool(super().is_safe_attribute(obj, attr, value)) and (ours or attr in _METHODS)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        small = all(isinstance(x, int | float) and abs(x) < 2**63 for x in (left, right))
        if not small or (operator == "**" and abs(right) > 64):
            raise SecurityError(f"{operator} is for small numbers only")
        return super().call_binop(context, operator, left, right)

    def counted(self, source: str) -> nodes.Template:
        """The template, each of its loops calling `TICK` at every turn."""
        tree = self.parse(source)
        if next(
            tree.find_all((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)), None
        ):
            raise SecurityError("a prompt is one template: nothing to include or import")
        for loop in tree.find_all(nodes.For):
            call = nodes.Call(nodes.Name(TICK, "load"), [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(call).set_lineno(loop.lineno))
        return tree


def _replace(value: Any, old: str, new: str, count: int = -1) -> str:
    text = str(value)
    if (len(text) + 1) * len(str(new)) > _GROWN_CHARS:
        raise SecurityError("replace makes too long a text")
    return text.replace(str(old), str(new), count)


def _join(values: Iterable[Any], between: str = "") -> str:
    texts = [str(value) for value in values]
    if sum(map(len, texts)) + len(texts) * len(between) > _GROWN_CHARS:
        raise SecurityError("join makes too long a text")
    return between.join(texts)
