"""A table of a TOML file as a frozen dataclass: every key known, every value of its type."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar

from osler.errors import RequestError, unknown_name

_T = TypeVar("_T")


def build(kind: type[_T], values: dict[str, Any], *, where: str) -> _T:
    """Fills a dataclass from a table, nested tables included.

    Raises:
        RequestError: If a key is unknown (with the nearest match), missing, or of a wrong type.
    """
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    filled: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise unknown_name(f"key in {where}", name=name, known=fields)
        filled[name] = _fit(value, hints[name], where=f"{where}.{name}")
    missing = [
        name
        for name, f in fields.items()
        if name not in filled and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RequestError(f"{where} lacks {', '.join(missing)}.", next_step="Add it to the recipe.")
    return kind(**filled)


def _fit(value: Any, hint: Any, *, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise RequestError(f"{where} is {value!r}.", allowed="A table.")
        return build(hint, value, where=where)
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise unknown_name(f"value of {where}", name=str(value), known=map(str, typing.get_args(hint)))
        return value
    if typing.get_origin(hint) is tuple:
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    plain = hint if isinstance(hint, type) and not isinstance(hint, types.GenericAlias) else object
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise RequestError(f"{where} is {value!r}.", allowed=f"A value of type {plain.__name__}.")
    return value


def read_table(path: str | Path) -> dict[str, Any]:
    """Reads a TOML file.

    Raises:
        RequestError: If it is absent or not TOML.
    """
    path = Path(path)
    if not path.is_file():
        raise RequestError(f"No recipe at {str(path)!r}.", next_step="The shipped recipes lie in recipes/.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{str(path)!r} is not TOML: {error}.", next_step="Compare with recipes/debug.toml."
        ) from error
