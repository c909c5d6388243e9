"""Writes docs/reference/trainingjob.md from the models: ``python tools/reference.py``; a test says if it is fresh."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from thunderhead_api.hints import REFUSED_KEY, RULES_KEY, SAYS_KEY
from thunderhead_api.names import JOB_NAME_MAX
from thunderhead_api.rulebook import RULES
from thunderhead_api.structural import INT_OR_STRING, KEYS_KEY, PRESERVE, Schema, spec_schema, status_schema

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "reference" / "trainingjob.md"
HEAD: Final = f"""# TrainingJob

Generated from the models by `python tools/reference.py`; `kubectl explain trainingjob.spec` says the same.

`apiVersion: thunderhead.dev/v1alpha1`, `kind: TrainingJob`, short name `tj`. A job's name has at most {JOB_NAME_MAX}
characters of a-z, 0-9 and `-`, begins with a letter and does not end with `-`.

Sections of a trainer configuration file (`module`, `datamodule`, `trainer`) keep its spelling; everything else is
camelCase. What is not listed here is refused. In bounds, "len" counts characters, items or entries.
"""
OPAQUE: Final = ("podTemplate",)
"""Described by Kubernetes' own reference."""


def render() -> str:
    """The whole page."""
    written: dict[str, str] = {}
    sections = [*_sections("spec", spec_schema(), written), *_sections("status", status_schema(), written)]
    return "\n".join([HEAD, *sections]).rstrip() + "\n"


def _sections(path: str, schema: Schema, written: dict[str, str]) -> Iterator[str]:
    """One table for an object, then one for every object inside it; the same fields are written out once."""
    yield f"## {path}\n\n{schema.get('description', '')}\n"
    fields = json.dumps(schema["properties"], sort_keys=True)
    if fields in written:
        yield f"Fields as in {written[fields]}.\n"
        return
    written[fields] = path
    rules = [RULES[name] for name in schema.get(RULES_KEY, ())]
    notes = [f"- Rule: {f'`{rule.field}`: ' if rule.field else ''}{rule.message}." for rule in rules]
    notes += [f"- `{name}` {advice}." for name, advice in schema.get(REFUSED_KEY, {}).items()]
    yield from [*notes, ""] if notes else []
    yield "| field | type | default | bounds | |\n|---|---|---|---|---|"
    required = schema.get("required", ())
    yield from (_row(name, field, name in required) for name, field in schema["properties"].items())
    yield ""
    for name, field in schema["properties"].items():
        inside = _inside(field)
        if "properties" in inside and name not in OPAQUE:
            yield from _sections(f"{path}.{name}{'[]' if 'items' in field else ''}", inside, written)


def _row(name: str, field: Schema, required: bool) -> str:
    default = "**required**" if required else _code(field["default"]) if field.get("default") not in (None, {}) else ""
    cells = [f"`{name}`", _type(field), default, _bounds(field), field.get("description", "")]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(field: Schema) -> str:
    if "items" in field:
        return f"list of {_type(field['items'])}"
    if isinstance(field.get("additionalProperties"), dict):
        return f"map of {_type(field['additionalProperties'])}"
    if INT_OR_STRING in field:
        return f"integer or {_code(field['enum'][0]) if 'enum' in field else 'string'}"
    if "enum" in field:
        return ", ".join(_code(word) for word in field["enum"])
    if field.get(PRESERVE):
        return "free-form object" if "type" in field else "number or string"
    return str(field["type"])


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    found = [f"{_number(low)} … {_number(high)}"] if low is not None and high is not None else []
    lowest = next((field[key] for key in ("minLength", "minItems", "minProperties") if key in field), 0)
    most = next((field[key] for key in ("maxLength", "maxItems", "maxProperties") if key in field), None)
    if most is not None:
        found.append(f"len {lowest} … {_number(most)}" if lowest else f"len ≤ {_number(most)}")
    found += [str(place[SAYS_KEY]) for place in (field, _inside(field)) if SAYS_KEY in place]
    found += [f"keys {field[KEYS_KEY][SAYS_KEY]}"] if KEYS_KEY in field else []
    found += [RULES[name].message for name in field.get(RULES_KEY, ()) if "properties" not in field]
    return "; ".join(dict.fromkeys(found))


def _inside(field: Schema) -> Schema:
    values = field.get("additionalProperties")
    found: Schema = field["items"] if "items" in field else values if isinstance(values, dict) else field
    return found


def _number(value: float) -> str:
    power = int(value).bit_length()
    if value == 2**power - 1 and power > 16:
        return f"2^{power} - 1"
    return f"{int(value):,}" if float(value).is_integer() else str(value)


def _code(value: Any) -> str:
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render())
