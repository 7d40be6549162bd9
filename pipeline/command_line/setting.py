"""Settings as the command line sees them: the fields of configuration dataclasses."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

__all__ = ["Setting", "descriptions", "settings_of"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field: a key of YAML files and, with dashes, a flag.

    Attributes:
        kinds: the types that its value may have; `None` is told by `nullable`.
        default: `MISSING` where the setting is required.
        secret: values are not repeated in messages; those of fields with `repr=False`.
    """

    name: str
    kinds: tuple[Any, ...]
    nullable: bool
    default: Any
    secret: bool

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def is_switch(self) -> bool:
        return self.kinds == (bool,)

    @property
    def is_list(self) -> bool:
        return any(get_origin(kind) in (list, tuple) for kind in self.kinds)

    @property
    def is_mapping(self) -> bool:
        return any(get_origin(kind) in (dict, Mapping) for kind in self.kinds)

    @property
    def is_named(self) -> bool:
        """Whether it is a text, or several: each flag gives one, NAME=TEXT or not."""
        return str in self.kinds and self.is_list

    @property
    def is_required(self) -> bool:
        return self.default is MISSING


def settings_of(section: type[Any]) -> dict[str, Setting]:
    """The fields of a dataclass by name, in their order."""
    hints, found = get_type_hints(section), {}
    for field in (field for field in fields(section) if field.init):
        kinds = _kinds(hints[field.name])
        made = field.default_factory() if field.default_factory is not MISSING else field.default
        found[field.name] = Setting(
            name=field.name,
            kinds=tuple(kind for kind in kinds if kind is not NoneType),
            nullable=NoneType in kinds,
            default=made,
            secret=not field.repr,
        )
    return found


def descriptions(section: type[Any]) -> Mapping[str, str]:
    """The string under each field of a dataclass, on one line; those of its bases too."""
    found: dict[str, str] = {}
    for cls in reversed(section.__mro__[:-1]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                text = ast.literal_eval(below.value)
                found[ast.unparse(field.target)] = " ".join(text.split())
    return found


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Members of a union; anything else is alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
