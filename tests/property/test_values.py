"""Any value comes through an expression as it is, and no value is ever evaluated."""

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.engine.expressions import as_text, compile_template
from controller.engine.problems import RenderError

# The runtime ends a text at NUL.
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.lists(
    st.sampled_from(["${{", "}}", "'", '"', "\\", "{", "}", "params.a", " ", "1", "\n", "dag"])
).map("".join)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def render(tree: Any, value: Any) -> Any:
    variables = {"params": {"a": value}, "inputs": {}, "nodes": {}, "dag": {}}
    return compile_template(tree, "field").render(variables)


@given(values)
def test_a_value_comes_through_with_its_type(value: Any) -> None:
    rendered = render("${{ params.a }}", value)
    assert json.dumps(rendered, sort_keys=True) == json.dumps(value, sort_keys=True)


@given(values)
def test_a_value_becomes_text_inside_a_longer_string(value: Any) -> None:
    assert render("<${{ params.a }}>", value) == f"<{as_text(value)}>"


@given(texts)
def test_a_text_that_opens_no_expression_stays_as_it_is(text: str) -> None:
    if "${{" not in text:
        assert render([text, {text: text}], None) == [text, {text: text}]


@given(texts)
def test_any_text_is_compiled_or_refused(text: str) -> None:
    with suppress(RenderError):
        compile_template({"a": [text]}, "field")
