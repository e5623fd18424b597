"""Frozen dataclasses to camelCase JSON and back, strictly: an unknown, missing or mistyped field is an error.

A reader of another release's reports passes `strict=False`: fields that it does not know are left out, and all else is
checked as ever. What tells somebody what to do is read strictly: who left out a mask would deliver what it hides."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import sys
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")

_SURROGATE = re.compile("[\ud800-\udfff]")


class ContractError(ValueError):
    """A document does not have the agreed form; the message names the path, the value's type and what is allowed."""


def camel(name: str) -> str:
    """`key_prefix` → `keyPrefix`; the acronyms `id` and `uri` at the end are written as Kubernetes does (`runID`)."""
    head, *tail = name.split("_")
    return head + "".join(part.upper() if part in {"id", "uri"} else part.capitalize() for part in tail)


@functools.cache
def _names(cls: type) -> tuple[tuple[str, str], ...]:
    """Fields of a dataclass, as Python and as JSON call them."""
    return tuple((field.name, camel(field.name)) for field in dataclasses.fields(cls))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of a dataclass's fields. To find them costs more than all else of a decoding."""
    return typing.get_type_hints(cls)


def encode(value: Any) -> Any:
    """A dataclass instance as plain JSON values; fields that are None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((name, getattr(value, field)) for field, name in _names(type(value)))
        return {name: encode(item) for name, item in pairs if item is not None}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(cls: type[T], data: Any, path: str = "$", *, strict: bool = True) -> T:
    """Build `cls` from parsed JSON. Raises `ContractError` that names the first path at fault."""
    if not isinstance(data, dict):
        raise ContractError(f"{path}: expected an object, got {type(data).__name__}")
    hints = _hints(typing.cast("type", cls))
    fields = {camel(field.name): field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if strict and (unknown := sorted(set(data) - set(fields))):
        raise ContractError(f"{path}: unknown field {unknown[0]!r}; known: {', '.join(sorted(fields))}")
    arguments: dict[str, Any] = {}
    for key, field in fields.items():
        if key in data:
            arguments[field.name] = _convert(hints[field.name], data[key], f"{path}.{key}", strict)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ContractError(f"{path}: field {key!r} is missing")
    try:
        return cls(**arguments)
    except ContractError as error:
        raise ContractError(f"{path}: {error}") from None


def loads(cls: type[T], text: str | bytes, *, strict: bool = True) -> T:
    """Parse JSON text into `cls`. Raises `ContractError` for text that is not JSON as well."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"$: not JSON: {error}") from None
    return decode(cls, data, strict=strict)


def dumps(value: Any) -> str:
    """One line of compact JSON with a stable field order (that of the dataclass)."""
    return json.dumps(encode(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _convert(hint: Any, value: Any, path: str, strict: bool) -> Any:
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        members = typing.get_args(hint)
        if value is None:
            if type(None) in members:
                return None
            raise ContractError(f"{path}: must not be null")
        return _convert(next(member for member in members if member is not type(None)), value, path, strict)
    if origin is typing.Literal:
        allowed = typing.get_args(hint)
        if not any(type(value) is type(item) and value == item for item in allowed):
            raise ContractError(f"{path}: {value!r} is not one of {', '.join(map(str, allowed))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ContractError(f"{path}: expected a list, got {type(value).__name__}")
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, element, f"{path}[{index}]", strict) for index, element in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ContractError(f"{path}: expected an object, got {type(value).__name__}")
        item = typing.get_args(hint)[1]
        return {
            _convert(str, key, f"{path}: a key", strict): _convert(item, element, f"{path}.{key}", strict)
            for key, element in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast("type[Any]", hint), value, path, strict=strict)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        # JSON has no infinity, but its numbers have no bound: 1e999 is one.
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise ContractError(f"{path}: {value!r:.40} is not a finite number")
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ContractError(f"{path}: expected {hint.__name__}, got {type(value).__name__}")
    if isinstance(value, str) and _SURROGATE.search(value):
        # JSON can write half a character (RFC 8259, section 8.2); UTF-8 cannot, and so nothing behind us can.
        raise ContractError(f"{path}: holds half of a surrogate pair, which is no character")
    return value
