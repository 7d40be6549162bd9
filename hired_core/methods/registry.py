"""Methods by the names that the command line knows them by.

Importing this imports no method, hence no torch; asking for one does.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints

from hired_core.errors import SettingError

if TYPE_CHECKING:
    from hired_core.methods.base import Method

METHODS: Final = {
    name: f"hired_core.methods.{module}"
    for name, module in {
        "distinct": "pre_llm.similarity.distinct",
        "hired": "pre_llm.attention.hired",
        "dense": "pre_llm.geometric.dense",
        "hired-upstream": "pre_llm.attention.hired_upstream",
        "uniform": "pre_llm.attention.uniform",
        "globalcom2": "pre_llm.attention.globalcom2",
        "hiprune": "pre_llm.attention.hiprune",
        "vispruner": "pre_llm.similarity.vispruner",
        "scope": "pre_llm.similarity.scope",
        "id-selection": "pre_llm.similarity.id_selection",
        "divprune": "pre_llm.similarity.divprune",
        "divprune-cen": "pre_llm.similarity.divprune_cen",
        "holov": "pre_llm.similarity.holov",
        "visionzip": "pre_llm.merging.visionzip",
        "prumerge": "pre_llm.merging.prumerge",
        "prumerge-plus": "pre_llm.merging.prumerge_plus",
        "stride": "pre_llm.geometric.stride",
        "random": "pre_llm.geometric.random",
        "average-pool": "pre_llm.geometric.average_pool",
        "grid-downsample": "pre_llm.geometric.grid_downsample",
        "token-packing": "pre_llm.geometric.token_packing",
        "image-downsample": "pre_llm.geometric.image_downsample",
        "fastv": "in_llm.fastv",
        "pyramiddrop": "in_llm.pyramiddrop",
        "sparsevlm": "in_llm.sparsevlm",
        "dart": "in_llm.dart",
    }.items()
}
"""Name -> module with a `METHOD`."""


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        SettingError: if there is none; the message lists those there are.
    """
    if name not in METHODS:
        raise SettingError(f"method: no {name!r}; there are {', '.join(METHODS)}")
    found: Method = importlib.import_module(METHODS[name]).METHOD
    return found


def methods_with(option: str) -> list[str]:
    """Names of the methods that have an option of that name."""
    return [name for name in METHODS if option in _option_names(name)]


def make_options(name: str, values: Mapping[str, Any]) -> Any:
    """The method's options, those that are not given at their defaults.

    Raises:
        SettingError: for an option that it does not have, or a value that is not allowed.
    """
    cls, known = method(name).options, _option_names(name)
    for key in values:
        if key not in known:
            there = f"it has {', '.join(known)}" if known else "it has none"
            raise SettingError(f"{key}: no option of method {name}; {there}")
    return cls(**{key: _typed(cls, key, value) for key, value in values.items()})


def _option_names(name: str) -> list[str]:
    return [field.name for field in fields(method(name).options)]


def _typed(cls: type[Any], key: str, value: Any) -> Any:
    """A number or switch as the option is declared, also from a text of the command line."""
    hint = get_type_hints(cls)[key]
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if value is None and NoneType in kinds:
        return None
    for kind, name in _KINDS.items():
        if kind in kinds:
            try:
                return _convert(kind, value)
            except ValueError:
                raise SettingError(f"{key}: expected {name}, got {value!r}") from None
    return value  # One of some words: its method checks which.


_KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number"}


def _convert(kind: type[Any], value: Any) -> Any:
    if kind is bool:
        text = str(value).lower()
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"
    if isinstance(value, bool):
        raise ValueError
    return kind(str(value))
