"""Structural OpenAPI schemas from pydantic models.

The API server accepts a small dialect of JSON Schema (a "structural schema") and pydantic speaks the whole
language, so this module translates, and refuses what has no translation instead of weakening it silently. Two
rules are stricter than the API server's own:

- Everything is bounded. A string, list or map without a limit lets one object fill the store, and the API
  server prices a CEL rule by the worst case that the limits allow.
- Every field has a description, because `kubectl explain` is the manual that users have open.

Models steer the output through `json_schema_extra`: every `x-kubernetes-*` key is passed on (rules of a model
and of the field that uses it are added up), and a `default` there is one that the API server writes into stored
objects. Python defaults are left out: a stored default shows up as drift in GitOps tools, and would freeze
today's value into every object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import NullableSchema, WithDefaultSchema
from typing_extensions import override

__all__ = ["Schema", "SchemaError", "structural_schema"]

Schema = dict[str, Any]

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
RULES: Final = "x-kubernetes-validations"
LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_KEYS: Final = "x-kubernetes-list-map-keys"

KEPT: Final = frozenset(
    {"type", "enum", "pattern", "minLength", "maxLength", "minItems", "maxItems"}
    | {"minProperties", "maxProperties", "minimum", "maximum", "multipleOf"}
)
DROPPED: Final = frozenset({"title", "examples", "deprecated", "readOnly", "writeOnly"})
TRANSLATED: Final = frozenset(
    {"description", "default", "format", "const", "exclusiveMinimum", "exclusiveMaximum", "uniqueItems"}
    | {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "items"}
)
TYPES: Final = frozenset({"string", "integer", "number", "boolean", "object", "array"})
# The formats that the API server checks and that bound a string; it would silently ignore most others.
FORMATS: Final = frozenset({"date", "date-time"})
INT32: Final = 2**31


class SchemaError(ValueError):
    """A model has a field that cannot become part of a structural schema; the message begins with its path."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


def structural_schema(model: type[BaseModel], path: str | None = None) -> Schema:
    """Translate a model into a structural schema.

    `path` is what the messages of errors begin with, by default the model's name. Raises `SchemaError` for a
    field without bounds or description, and for a type that has no structural form.
    """
    raw = model.model_json_schema(schema_generator=_PlainSchema)
    return _Translation(raw.pop("$defs", {})).field(raw, path or model.__name__)


class _PlainSchema(GenerateJsonSchema):
    """Pydantic's own translation without the words that a structural schema does not have."""

    @override
    def default_schema(self, schema: WithDefaultSchema) -> Schema:
        """Leave Python's default out, so that one in the output was asked for by `json_schema_extra`."""
        return self.generate_inner(schema["schema"])

    @override
    def nullable_schema(self, schema: NullableSchema) -> Schema:
        """An optional value is one that may be left out; the API server stores no nulls."""
        return self.generate_inner(schema["schema"])


class _Translation:
    """One run over one model; holds the definitions that its references point to."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def field(self, raw: Schema, path: str, seen: tuple[str, ...] = ()) -> Schema:
        """Translate a schema that a user can ask `kubectl explain` about."""
        schema = self.value(raw, path, seen)
        if not schema.get("description"):
            raise SchemaError(path, "has no description.")
        return schema

    def value(self, raw: Schema, path: str, seen: tuple[str, ...]) -> Schema:
        raw, seen = self._resolve(raw, path, seen)
        _refuse_unknown(raw, path)
        schema = _leading(raw) | _numbers(raw) | _carried(raw)
        schema |= self._children(raw, path, seen)
        if not schema.keys() & {"type", INT_OR_STRING}:
            schema[PRESERVE] = True
        _check_bounds(schema, path)
        _check_list_keys(schema, path)
        return schema

    def _resolve(self, raw: Schema, path: str, seen: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """Replace references and unions by what they stand for; what is written beside them wins."""
        while raw.keys() & {"$ref", "anyOf"}:
            raw = dict(raw)
            if "$ref" in raw:
                name = raw.pop("$ref").removeprefix("#/$defs/")
                if name in seen:
                    raise SchemaError(path, f"refers to itself through {name}; a schema cannot be recursive.")
                seen = (*seen, name)
                raw = _overlay(self._definitions[name], raw)
            else:
                raw = _overlay(_integer_or_text(raw.pop("anyOf"), path), raw)
        return raw, seen

    def _children(self, raw: Schema, path: str, seen: tuple[str, ...]) -> Schema:
        if "properties" in raw:
            return self._object(raw, path, seen)
        if raw.get("type") == "object":
            return self._map(raw, path, seen)
        if raw.get("type") == "array":
            return {"items": self.value(raw.get("items", {}), f"{path}[]", seen)}
        return {}

    def _object(self, raw: Schema, path: str, seen: tuple[str, ...]) -> Schema:
        """A model. One that forbids extra fields needs no word about it: the API server prunes them."""
        properties = {
            name: self.field(child, f"{path}.{name}", seen) for name, child in raw["properties"].items()
        }
        schema: Schema = {"properties": properties}
        if raw.get("required"):
            schema["required"] = sorted(raw["required"])
        if raw.get("additionalProperties"):
            schema[PRESERVE] = True
        return schema

    def _map(self, raw: Schema, path: str, seen: tuple[str, ...]) -> Schema:
        """A mapping with free keys. The API server has no way to check keys, so their pattern stays with pydantic.

        One whose values can be anything is written as an object of unknown fields, which is the same, but visible
        to CEL: rules can compare it with its former self.
        """
        patterns = list(raw.get("patternProperties", {}).values())
        values = patterns[0] if patterns else raw.get("additionalProperties")
        if len(patterns) > 1 or values is False:
            raise SchemaError(path, "is an object whose fields are not known; a map has one kind of value.")
        if values is None:
            return {PRESERVE: True}
        schema = self.value({} if values is True else values, f"{path}.*", seen)
        _check_map_size(raw, path)
        return {PRESERVE: True} if _is_anything(schema) else {"additionalProperties": schema}


def _overlay(below: Schema, above: Schema) -> Schema:
    merged = {**below, **above}
    rules = [*below.get(RULES, ()), *above.get(RULES, ())]
    return merged | {RULES: rules} if rules else merged


def _integer_or_text(choices: Iterable[Schema], path: str) -> Schema:
    """The only union that the API server knows: an integer that may be written as text."""
    values = list(choices)
    if sorted(str(value.get("type")) for value in values) == ["integer", "string"]:
        bounds = {key: limit for value in values for key, limit in value.items() if key != "type"}
        return {**bounds, INT_OR_STRING: True}
    raise SchemaError(
        path, "is a union, which a structural schema cannot express; use one field per variant."
    )


def _refuse_unknown(raw: Schema, path: str) -> None:
    unknown = {key for key in raw if not key.startswith("x-kubernetes-")} - KEPT - DROPPED - TRANSLATED
    if unknown:
        raise SchemaError(path, f"uses keywords that have no structural form: {', '.join(sorted(unknown))}.")
    if raw.get("type", "object") not in TYPES:
        raise SchemaError(path, f"has a type that has no structural form: {raw['type']}.")


def _leading(raw: Schema) -> Schema:
    """Description and default, first in the output, because people read the files too."""
    schema: Schema = {}
    if "description" in raw:
        schema["description"] = _reflow(raw["description"])
    if "default" in raw:
        schema["default"] = raw["default"]
    return schema


def _carried(raw: Schema) -> Schema:
    schema = {key: value for key, value in raw.items() if key in KEPT or key.startswith("x-kubernetes-")}
    if raw.get("format") in FORMATS:
        schema["format"] = raw["format"]
    if "const" in raw:
        schema["enum"] = [raw["const"]]
    if raw.get("uniqueItems"):
        schema[LIST_TYPE] = "set"
    return schema


def _numbers(raw: Schema) -> Schema:
    """Exclusive limits are a flag beside the limit here, and integers name their width."""
    schema: Schema = {}
    for limit in ("minimum", "maximum"):
        flag = f"exclusive{limit.capitalize()}"
        if flag in raw:
            schema |= {limit: raw[flag], flag: True}
    if raw.get("type") == "integer":
        schema["format"] = "int32" if _fits_int32(raw) else "int64"
    return schema


def _fits_int32(raw: Schema) -> bool:
    lowest = raw.get("minimum", raw.get("exclusiveMinimum"))
    highest = raw.get("maximum", raw.get("exclusiveMaximum"))
    return lowest is not None and highest is not None and lowest >= -INT32 and highest < INT32


def _check_bounds(schema: Schema, path: str) -> None:
    text = schema.get("type") == "string" or INT_OR_STRING in schema
    if text and not schema.keys() & {"enum", "maxLength", "format"}:
        raise SchemaError(path, "is a string without maxLength or enum.")
    if schema.get("type") == "array" and "maxItems" not in schema:
        raise SchemaError(path, "is a list without maxItems.")


def _check_map_size(raw: Schema, path: str) -> None:
    if "maxProperties" not in raw:
        raise SchemaError(path, "is a map without maxProperties.")


def _is_anything(schema: Schema) -> bool:
    return PRESERVE in schema and "type" not in schema


def _check_list_keys(schema: Schema, path: str) -> None:
    """The API server compares entries of a keyed list by these fields, so every entry must have them."""
    if schema.get(LIST_TYPE) != "map":
        return
    required = schema["items"].get("required", [])
    missing = [key for key in schema.get(LIST_KEYS, [""]) if key not in required]
    if missing:
        raise SchemaError(path, f"is a keyed list, and its entries do not require the key: {missing[0]!r}.")


def _reflow(text: str) -> str:
    """Undo the line breaks of the source code; keep paragraphs, and lines that are indented or listed."""
    return re.sub(r"(?<!\n)[ \t]*\n(?![\n\s*-])", " ", text.strip())
