"""What pydantic says about a model, and what the API server must read about it: one case per difference."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from controller.api.schema import Schema, SchemaError, structural_schema

Short = Annotated[str, StringConstraints(max_length=10)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z]+$", max_length=10)]
PRESERVED: Schema = {"x-kubernetes-preserve-unknown-fields": True}
NUMBERED: Schema = {"type": "integer", "format": "int64"}


class Colour(StrEnum):
    """Which colour."""

    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    """A part."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [{"rule": "self.size > 0"}]})

    name: Short = Field(description="The name.")
    size: int | None = Field(None, description="The size.")


class Open(BaseModel):
    """Keeps what it does not know."""

    model_config = ConfigDict(extra="allow")


class Closed(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")

    name: Short = Field(description="The name.")


class Tree(BaseModel):
    """Contains itself."""

    children: Annotated[list["Tree"], Field(max_length=2)] = Field(description="The children.")


def model_of(annotation: Any, **field: Any) -> type[BaseModel]:
    """A model with one field of the given type."""
    described = Field(**{"description": "A field.", **field})
    namespace = {"__annotations__": {"field": annotation}, "field": described, "__doc__": "A model."}
    return type("Toy", (BaseModel,), namespace)


def translated(annotation: Any, **field: Any) -> Schema:
    """What becomes of one field, without its description."""
    schema: Schema = structural_schema(model_of(annotation, **field))["properties"]["field"]
    assert schema.pop("description") == field.get("description", "A field.")
    return schema


PART: Schema = {
    "type": "object",
    "properties": {
        "name": {"description": "The name.", "type": "string", "maxLength": 10},
        "size": {"description": "The size.", **NUMBERED},
    },
    "required": ["name"],
    "x-kubernetes-validations": [{"rule": "self.size > 0"}],
}


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        pytest.param(Part, PART, id="a reference is replaced by what it refers to"),
        pytest.param(Part | None, PART, id="an optional reference is the reference"),
        pytest.param(Short | None, {"type": "string", "maxLength": 10}, id="an optional value is the value"),
        pytest.param(Literal["a"], {"type": "string", "enum": ["a"]}, id="a constant is an enum of one"),
        pytest.param(Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, id="a choice is an enum"),
        pytest.param(Colour, {"type": "string", "enum": ["red", "blue"]}, id="an Enum is an enum"),
        pytest.param(
            Annotated[float, Field(gt=0, lt=1)],
            {
                "type": "number",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 1,
                "exclusiveMaximum": True,
            },
            id="exclusive limits are flags",
        ),
        pytest.param(Annotated[float, Field(ge=0)], {"type": "number", "minimum": 0}, id="limits stay"),
        pytest.param(int, NUMBERED, id="an integer without limits has 64 bits"),
        pytest.param(
            Annotated[int, Field(ge=0, le=100)],
            {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100},
            id="an integer with limits has 32 bits",
        ),
        pytest.param(
            Annotated[int, Field(ge=0, le=2**31)],
            {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**31},
            id="an integer beyond 32 bits has 64",
        ),
        pytest.param(
            int | Key,
            {"x-kubernetes-int-or-string": True, "maxLength": 10, "pattern": "^[a-z]+$"},
            id="a number or text",
        ),
        pytest.param(
            Short | int | None, {"x-kubernetes-int-or-string": True, "maxLength": 10}, id="or nothing"
        ),
        pytest.param(Any, PRESERVED, id="anything is preserved"),
        pytest.param(JsonValue, PRESERVED, id="any JSON is preserved"),
        pytest.param(
            Open,
            {"type": "object", "properties": {}, **PRESERVED},
            id="a model that allows extra fields preserves them",
        ),
        pytest.param(
            Closed,
            {
                "type": "object",
                "properties": {"name": {"description": "The name.", "type": "string", "maxLength": 10}},
                "required": ["name"],
            },
            id="a model that forbids extra fields needs no word about it",
        ),
        pytest.param(
            Annotated[dict[str, Any], Field(max_length=2)],
            {"type": "object", "maxProperties": 2, **PRESERVED},
            id="a map of anything",
        ),
        pytest.param(
            Annotated[dict[Key, int], Field(max_length=2)],
            {"type": "object", "additionalProperties": NUMBERED, "maxProperties": 2},
            id="a map whose keys have a pattern",
        ),
        pytest.param(
            Annotated[list[Short], Field(max_length=2)],
            {"type": "array", "items": {"type": "string", "maxLength": 10}, "maxItems": 2},
            id="a list",
        ),
        pytest.param(
            Annotated[set[Short], Field(max_length=2)],
            {
                "type": "array",
                "items": {"type": "string", "maxLength": 10},
                "maxItems": 2,
                "x-kubernetes-list-type": "set",
            },
            id="a set is a list of that type",
        ),
        pytest.param(
            datetime, {"type": "string", "format": "date-time"}, id="a known format bounds a string"
        ),
        pytest.param(bool, {"type": "boolean"}, id="a flag"),
    ],
)
def test_translates(annotation: Any, expected: Schema) -> None:
    assert translated(annotation) == expected


def test_leaves_out_what_does_not_concern_the_api_server() -> None:
    schema = translated(Short, title="Title", examples=["a"], default="a", deprecated=True)

    assert schema == {"type": "string", "maxLength": 10}


def test_a_field_with_a_default_is_not_required() -> None:
    assert "required" not in structural_schema(model_of(Short, default="a"))
    assert structural_schema(model_of(Short))["required"] == ["field"]


def test_a_default_is_stored_only_when_the_field_asks_for_it() -> None:
    schema = translated(Short | None, default=None, json_schema_extra={"default": "a"})

    assert schema == {"type": "string", "maxLength": 10, "default": "a"}


def test_formats_that_the_api_server_does_not_check_are_dropped() -> None:
    schema = translated(Short, json_schema_extra={"format": "uri"})

    assert schema == {"type": "string", "maxLength": 10}


def test_extensions_are_passed_on() -> None:
    extra = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}

    schema = translated(Annotated[list[Part], Field(max_length=5)], json_schema_extra=extra)

    assert extra.items() <= schema.items()
    assert schema["items"] == {"description": "A part.", **PART}


def test_rules_of_a_model_and_of_the_field_that_uses_it_add_up() -> None:
    schema = translated(Part, json_schema_extra={"x-kubernetes-validations": [{"rule": "self.name != ''"}]})

    assert schema["x-kubernetes-validations"] == [{"rule": "self.size > 0"}, {"rule": "self.name != ''"}]


def test_a_field_without_description_has_that_of_its_model() -> None:
    schema = structural_schema(model_of(Part, description=None))

    assert schema["properties"]["field"]["description"] == "A part."


def test_line_breaks_of_the_source_are_undone_and_paragraphs_and_lists_kept() -> None:
    text = "One line\nand another.\n\nA paragraph:\n- one\n- two\n"

    schema = structural_schema(model_of(Short, description=text))

    assert (
        schema["properties"]["field"]["description"] == "One line and another.\n\nA paragraph:\n- one\n- two"
    )


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param(str, "Toy.field: is a string without maxLength or enum.", id="a string"),
        pytest.param(int | str, "Toy.field: is a string without maxLength or enum.", id="a number or text"),
        pytest.param(list[Short], "Toy.field: is a list without maxItems.", id="a list"),
        pytest.param(dict[str, Any], "Toy.field: is a map without maxProperties.", id="a map"),
        pytest.param(
            Annotated[list[str], Field(max_length=1)],
            "Toy.field[]: is a string without maxLength",
            id="an item",
        ),
        pytest.param(
            Annotated[dict[str, str], Field(max_length=1)],
            "Toy.field.*: is a string without maxLength",
            id="a value of a map",
        ),
    ],
)
def test_refuses_what_has_no_bound(annotation: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}"):
        structural_schema(model_of(annotation))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        pytest.param(Tree, "Toy.field.children[]: refers to itself through Tree", id="a recursive model"),
        pytest.param(Short | bool, "Toy.field: is a union", id="a union of unlike values"),
        pytest.param(Part | Closed, "Toy.field: is a union", id="a union of models"),
        pytest.param(
            tuple[int, bool],
            "Toy.field: uses keywords that have no structural form: prefixItems.",
            id="a tuple",
        ),
        pytest.param(None, "Toy.field: has a type that has no structural form: null.", id="nothing but null"),
    ],
)
def test_refuses_what_has_no_structural_form(annotation: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}"):
        structural_schema(model_of(annotation))


def test_refuses_a_field_without_description() -> None:
    with pytest.raises(SchemaError, match=r"^spec\.field: has no description\.$"):
        structural_schema(model_of(bool, description=None), "spec")


def test_refuses_a_keyed_list_whose_entries_may_lack_the_key() -> None:
    keyed = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["size"]}

    with pytest.raises(SchemaError, match=r"^Toy\.field: is a keyed list, .* the key: 'size'\.$"):
        translated(Annotated[list[Part], Field(max_length=5)], json_schema_extra=keyed)
