"""Holds a value against a structural schema as the API server does: nulls, defaults, types, bounds, rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final

from thunderhead_api.hints import REFUSED_KEY, RULES_KEY, SAYS_KEY
from thunderhead_api.rulebook import ELSEWHERE, RULES
from thunderhead_api.rules import matches
from thunderhead_api.structural import INT_OR_STRING, KEYS_KEY, PRESERVE, Schema

_INT64_END: Final = 2**63
_FORMAT_BITS: Final = {"int32": 31, "int64": 63}


@dataclass(frozen=True)
class Problem:
    """One thing wrong: where, with what value, which rule, and what to do about it."""

    path: str
    value: Any
    rule: str
    remedy: str | None = None

    def __str__(self) -> str:
        """One line for people."""
        shown = f" = {_shorten(repr(self.value))}" if isinstance(self.value, str | int | float) else ""
        return f"{self.path}{shown}: {self.rule}" + (f"; {self.remedy}" if self.remedy else "")


def as_json(value: Any) -> Any:
    """What kubectl makes of a YAML value on its way to the server: 1.0 becomes 1, keys strings, dates their text."""
    if isinstance(value, Mapping):
        return {_key(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _INT64_END:
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)


def no_json(value: Any, path: str) -> Iterator[Problem]:
    """Every number and text in a value of :func:`as_json` that JSON cannot say."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from no_json(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from no_json(item, f"{path}[{index}]")
    elif isinstance(value, float) and not isfinite(value):
        yield Problem(path, value, "is no JSON number", "write it as a string if the class takes one")
    elif isinstance(value, str) and not _is_text(value):
        yield Problem(path, value, "is no text: it has half a character in it (a lone surrogate)")


def with_defaults(schema: Schema, value: Any) -> Any:
    """A copy without nulls (a field left out is how Kubernetes says null) and with the schema's defaults filled in."""
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(schema["items"], item) for item in value]
    if not isinstance(value, Mapping):
        return value
    fields, values = schema.get("properties", {}), schema.get("additionalProperties")
    filled: dict[str, Any] = {}
    for name, item in value.items():
        inside = fields.get(name, values)
        if inside is None:
            filled[name] = deepcopy(item)
        elif item is not None:
            filled[name] = with_defaults(inside, item)
    for name, field in fields.items():
        if name not in filled and "default" in field:
            filled[name] = with_defaults(field, deepcopy(field["default"]))
    return filled


def problems(schema: Schema, value: Any, path: str) -> Iterator[Problem]:
    """Everything wrong with a value that has its defaults. Rules are looked at where types and bounds hold."""
    if schema.get(PRESERVE) and "type" not in schema:
        return
    kind = _kind_problem(schema, value)
    if kind:
        yield Problem(path, value, *kind)
        return
    found = [*_bounds(schema, value, path), *_children(schema, value, path)]
    yield from found
    if not found:
        yield from _rules(schema, value, path)


def did_you_mean(word: str, known: list[str]) -> str | None:
    """A remedy for a misspelt ``word``, or None when nothing known is like it."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else None


def _kind_problem(schema: Schema, value: Any) -> tuple[str, str | None] | None:
    if INT_OR_STRING in schema:
        if isinstance(value, str) or _is_integer(value):
            return None
        share = isinstance(value, float) and SAYS_KEY in schema and "%" in schema[SAYS_KEY]
        return "must be an integer or a string", f'write "{100 * value:g}%"' if share else None
    holds, name = _KINDS[schema["type"]]
    return None if holds(value) else (f"must be {name}", None)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and isfinite(value))


_KINDS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "integer": (_is_integer, "an integer"),
    "number": (_is_number, "a number"),
    "string": (lambda value: isinstance(value, str), "a string"),
    "boolean": (lambda value: isinstance(value, bool), "true or false"),
    "array": (lambda value: isinstance(value, list), "a list"),
    "object": (lambda value: isinstance(value, dict), "an object"),
}


def _bounds(schema: Schema, value: Any, path: str) -> Iterator[Problem]:
    if _is_number(value):
        yield from _number_bounds(schema, value, path)
        return
    for kind, noun in (("Length", "characters"), ("Items", "items"), ("Properties", "entries")):
        if isinstance(value, str | list | dict) and len(value) < schema.get(f"min{kind}", 0):
            yield Problem(path, value, f"must have at least {schema[f'min{kind}']} {noun}")
        if isinstance(value, str | list | dict) and len(value) > schema.get(f"max{kind}", len(value)):
            yield Problem(path, value, f"must have at most {schema[f'max{kind}']} {noun} (it has {len(value)})")
    if isinstance(value, str) and "enum" in schema and value not in schema["enum"]:
        remedy = did_you_mean(value, schema["enum"])
        choice = "an integer or " if INT_OR_STRING in schema else ""
        yield Problem(path, value, f"must be {choice}{' or '.join(schema['enum'])}", remedy)
    if isinstance(value, str) and "pattern" in schema and not matches(schema["pattern"], value):
        yield Problem(path, value, schema.get(SAYS_KEY, f"must match {schema['pattern']}"))


def _number_bounds(schema: Schema, value: float, path: str) -> Iterator[Problem]:
    limit = 2 ** _FORMAT_BITS.get(schema.get("format", "int64"), 63)
    if value < schema.get("minimum", -limit):
        yield Problem(path, value, f"must be at least {schema.get('minimum', -limit)}")
    if value > schema.get("maximum", limit - 1):
        yield Problem(path, value, f"must be at most {schema.get('maximum', limit - 1)}")


def _children(schema: Schema, value: Any, path: str) -> Iterator[Problem]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from problems(schema["items"], item, f"{path}[{index}]")
        yield from _duplicates(schema, value, path)
    elif isinstance(value, dict):
        yield from _fields(schema, value, path)


def _fields(schema: Schema, value: dict[str, Any], path: str) -> Iterator[Problem]:
    fields, values = schema.get("properties", {}), schema.get("additionalProperties")
    prefix = f"{path}." if path else ""
    for name in schema.get("required", ()):
        if name not in value:
            yield Problem(f"{prefix}{name}", None, "is required")
    for name, item in value.items():
        if name in fields:
            yield from problems(fields[name], item, f"{prefix}{name}")
        elif values is not None:
            yield from problems(values, item, f"{path}[{name}]")
        elif name in schema.get(REFUSED_KEY, {}):
            yield Problem(f"{prefix}{name}", item, schema[REFUSED_KEY][name])
        elif not schema.get(PRESERVE):
            advice = ELSEWHERE.get(f"{prefix}{name}") or did_you_mean(name, list(fields))
            yield Problem(f"{prefix}{name}", item, "unknown field", advice)


def _duplicates(schema: Schema, value: list[Any], path: str) -> Iterator[Problem]:
    keys = schema.get("x-kubernetes-list-map-keys")
    if keys is None and schema.get("x-kubernetes-list-type") != "set":
        return
    seen: list[Any] = []
    for index, item in enumerate(value):
        identity = [item.get(key) for key in keys] if keys and isinstance(item, dict) else item
        if identity in seen:
            yield Problem(
                f"{path}[{index}]", item, f"appears twice: {', '.join(keys)} must differ" if keys else "appears twice"
            )
        seen.append(identity)


def _rules(schema: Schema, value: Any, path: str) -> Iterator[Problem]:
    for name in schema.get(RULES_KEY, ()):
        rule = RULES[name]
        if rule.holds is not None and not rule.holds(value):
            at = f"{path}.{rule.field}" if rule.field else path
            yield Problem(at, value.get(rule.field) if rule.field else value, rule.message)
    keys = schema.get(KEYS_KEY, {})
    for key in value if keys else ():
        if len(key) > keys["maxLength"] or not matches(keys["pattern"], key):
            yield Problem(path, key, f"keys {keys[SAYS_KEY]}")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _key(key: Any) -> str:
    if isinstance(key, bool):
        return str(key).lower()
    return "null" if key is None else str(key)


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
