"""What a model says to the schema generator beyond types and bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

RULES_KEY: Final = "x-rules"
"""Names of rules in :mod:`thunderhead_api.rulebook` that hold for this value."""
SAYS_KEY: Final = "x-says"
"""The pattern beside it in words."""
REFUSED_KEY: Final = "x-refused"
"""Fields that exist to be refused: name → what to write in their place."""


@dataclass(frozen=True)
class Says:
    """What a user is told who breaks the pattern beside it, in place of the pattern itself."""

    text: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Put the sentence into the schema, where the generator makes one CEL rule of it and the pattern."""
        return {**handler(core), SAYS_KEY: self.text}


@dataclass(frozen=True)
class Obeys:
    """Names the rules of one field's value."""

    rules: tuple[str, ...]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Put the names into the schema."""
        return {**handler(core), RULES_KEY: list(self.rules)}


def obeys(*rules: str) -> dict[str, Any]:
    """``json_schema_extra`` of a model whose whole value obeys these rules."""
    return {RULES_KEY: list(rules)}


def refuses(fields: dict[str, str]) -> dict[str, Any]:
    """``json_schema_extra`` of a model that answers these fields with advice rather than with "unknown field"."""
    return {REFUSED_KEY: fields}
