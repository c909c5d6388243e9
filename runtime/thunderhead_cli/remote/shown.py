"""``-o``: the forms in which objects are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thunderhead_api.treaty import GROUP, PLURAL
from thunderhead_api.walk import did_you_mean
from thunderhead_cli.options import WrongOption

if TYPE_CHECKING:
    from thunderhead_client.job import Job


class Form(StrEnum):
    """How objects are printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


_FORMS = [form.value for form in Form]
Output = Annotated[
    str,
    typer.Option(
        "-o", "--output", metavar=f"[{'|'.join(_FORMS)}]", help="How it is printed.", autocompletion=lambda: _FORMS
    ),
]


def form_of(word: str) -> Form:
    """The form that ``-o`` names.

    Raises:
        WrongOption: it names none.
    """
    if word not in _FORMS:
        hint = did_you_mean(word, _FORMS)
        raise WrongOption(f"-o {word!r}: is none of {', '.join(_FORMS)}" + (f"; {hint}" if hint else ""))
    return Form(word)


def data(value: Any, form: Form) -> str:
    """A value as JSON or YAML."""
    if form is Form.JSON:
        return json.dumps(value, indent=4, ensure_ascii=False) + "\n"
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=False, allow_unicode=True, width=120)
    return text


def objects(jobs: Sequence[Job], form: Form, *, one: bool) -> str:
    """Jobs as ``kubectl get -o`` prints them: a list of them unless one was asked for."""
    if form is Form.NAME:
        return "".join(f"{PLURAL[:-1]}.{GROUP}/{job.name}\n" for job in jobs)
    raw = [_plain(job.raw) for job in jobs]
    if one:
        return data(raw[0], form)
    return data({"apiVersion": "v1", "kind": "List", "items": raw, "metadata": {"resourceVersion": ""}}, form)


def columns(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> str:
    """A table as kubectl prints them: columns as wide as their widest cell, three spaces between."""
    lines = [[head.upper() for head in heads], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(heads))]
    return "".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
        for line in lines
    )


def _plain(raw: dict[str, Any]) -> dict[str, Any]:
    """Without ``managedFields``, as kubectl does."""
    return raw | {"metadata": {key: value for key, value in raw["metadata"].items() if key != "managedFields"}}
