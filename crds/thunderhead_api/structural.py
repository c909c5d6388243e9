"""From a model to a structural schema: one type per place, nothing referenced, every union in one canonical form.

The result is what our own validation walks through, and what :mod:`thunderhead_api.schema` turns into the CRD. Beyond
the CRD's own keywords it may hold the sentence of a pattern, names of rules, refused fields, and ``x-keys`` (a schema
for a map's keys).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode

from thunderhead_api.hints import REFUSED_KEY, RULES_KEY, SAYS_KEY
from thunderhead_api.spec import TrainingJobSpec
from thunderhead_api.status import TrainingJobStatus

Schema = dict[str, Any]

KEYS_KEY: Final = "x-keys"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
_COPIED: Final = (
    *("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength"),
    *("minItems", "maxItems", "minProperties", "maxProperties"),
    *(SAYS_KEY, RULES_KEY, REFUSED_KEY),
)
_INT32_MAX: Final = 2**31 - 1


@cache
def spec_schema() -> Schema:
    """Schema of ``spec``; do not change the result."""
    schema = from_model(TrainingJobSpec, mode="validation")
    template: Schema = json.loads((files("thunderhead_api") / "pod_template.json").read_text())
    schema["properties"]["podTemplate"] = {
        **template,
        "description": schema["properties"]["podTemplate"]["description"],
    }
    return schema


@cache
def status_schema() -> Schema:
    """Schema of ``status``; do not change the result.

    Without defaults and required fields, and without enums: only the operator writes it, and a newer operator's status
    must not be refused by an older CRD.
    """
    schema = _lenient(from_model(TrainingJobStatus, mode="serialization", defaults=False))
    schema["properties"]["conditions"].update(
        {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    schema["properties"]["conditions"]["items"]["required"] = ["type"]
    return schema


def from_model(model: type[BaseModel], *, mode: JsonSchemaMode, defaults: bool = True) -> Schema:
    """The structural schema of a model.

    Raises:
        ValueError: for a type that has no structural form.
    """
    raw = model.model_json_schema(mode=mode, by_alias=True)
    return _Converter(raw.get("$defs", {}), defaults=defaults).convert(raw)


def _lenient(schema: Schema) -> Schema:
    kept = {key: value for key, value in schema.items() if key not in ("enum", "required")}
    if "properties" in schema:
        kept["properties"] = {name: _lenient(field) for name, field in schema["properties"].items()}
    if "items" in schema:
        kept["items"] = _lenient(schema["items"])
    return kept


class _Converter:
    def __init__(self, definitions: Mapping[str, Schema], *, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(self, raw: Mapping[str, Any]) -> Schema:
        """One place of the schema, its references resolved; what is said beside a reference wins."""
        flat = self._flatten(raw)
        if "anyOf" in flat:
            schema = _union([self.convert(branch) for branch in flat["anyOf"]])
        elif "type" not in flat and "const" not in flat:
            schema = {PRESERVE: True}
        else:
            schema = {key: flat[key] for key in _COPIED if key in flat}
            self._add_children(schema, flat)
        for key in ("description", RULES_KEY, REFUSED_KEY):
            if key in flat:
                schema[key] = flat[key]
        if self._defaults and flat.get("default") not in (None, [], {}):
            schema["default"] = flat["default"]
        return schema

    def _flatten(self, raw: Mapping[str, Any]) -> Schema:
        """Resolves a reference and takes null out of a union: a field left out is how Kubernetes says null."""
        flat = dict(raw)
        while "$ref" in flat:
            flat = {**self._definitions[flat.pop("$ref").rpartition("/")[2]], **flat}
        branches = [branch for branch in flat.get("anyOf", ()) if branch.get("type") != "null"]
        if len(branches) == 1:
            del flat["anyOf"]
            return self._flatten({**branches[0], **flat})
        return {**flat, "anyOf": branches} if branches else flat

    def _add_children(self, schema: Schema, flat: Mapping[str, Any]) -> None:
        if "const" in flat:
            schema |= {"type": "string", "enum": [flat["const"]]}
        if schema["type"] == "integer":
            schema["format"] = "int32" if 0 <= schema.get("maximum", _INT32_MAX + 1) <= _INT32_MAX else "int64"
        elif schema["type"] == "array":
            schema["items"] = self.convert(flat["items"])
        elif "properties" in flat:
            schema["properties"] = {name: self.convert(field) for name, field in flat["properties"].items()}
            if flat.get("required"):
                schema["required"] = list(flat["required"])
            _default_parents(schema)
        elif schema["type"] == "object":
            self._add_values(schema, flat)

    def _add_values(self, schema: Schema, flat: Mapping[str, Any]) -> None:
        keys = dict(flat.get("propertyNames", {}))
        values = flat.get("additionalProperties", True)
        for pattern, by_pattern in flat.get("patternProperties", {}).items():
            keys, values = {**keys, "pattern": pattern}, by_pattern
        if values is True:
            schema[PRESERVE] = True
        else:
            schema["additionalProperties"] = self.convert(values)
        if "pattern" in keys:
            schema[KEYS_KEY] = {key: value for key, value in keys.items() if key in _COPIED}


def _default_parents(schema: Schema) -> None:
    """An object left out gets its fields' defaults only if it has a default of its own."""
    for field in schema["properties"].values():
        inside = field.get("properties", {}).values()
        if not field.get("required") and any("default" in child for child in inside) and "default" not in field:
            field["default"] = {}


def _union(branches: Iterable[Schema]) -> Schema:
    """Integer or string has a form of its own; of any other scalars the API server is told nothing."""
    kinds = {branch.get("type"): branch for branch in branches}
    if set(kinds) == {"integer", "string"}:
        merged = {key: value for kind in ("string", "integer") for key, value in kinds[kind].items()}
        return {key: value for key, value in merged.items() if key not in ("type", "format")} | {INT_OR_STRING: True}
    if set(kinds) == {"number", "string"}:
        return {PRESERVE: True}
    raise ValueError(f"no structural form for a union of {sorted(map(str, kinds))}")
