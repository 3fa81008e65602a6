"""Merge patches as values: the examples of RFC 7386, and the laws that the status writer relies on."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.kube.merge import Replacement, apply, compose, difference

scalars = st.none() | st.booleans() | st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2)
patches = st.recursive(
    st.dictionaries(st.sampled_from("abc"), scalars, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), scalars | inner, max_size=3),
    max_leaves=8,
)
documents = patches.map(lambda patch: apply({}, patch))


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    ],
)
def test_apply_follows_the_rfc(target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]) -> None:
    assert apply(target, patch) == result


def test_apply_replaces_a_replacement() -> None:
    assert apply({"a": {"x": 1, "y": 2}}, {"a": Replacement(x=3)}) == {"a": {"x": 3}}


def test_deleting_and_setting_again_forgets_the_old_members() -> None:
    composed = compose({"a": None}, {"a": {"x": 1}})
    assert apply({"a": {"x": 0, "y": 2}}, composed) == {"a": {"x": 1}}
    assert difference({"a": {"x": 0, "y": 2}}, composed) == {"a": {"x": 1, "y": None}}


def test_difference_names_only_what_changes() -> None:
    current = {"phase": "Running", "nodes": {"a": {"phase": "Running"}, "b": {"phase": "Pending"}}}
    delta = {"phase": "Running", "nodes": {"a": {"phase": "Succeeded"}, "b": {"phase": "Pending"}, "c": None}}
    assert difference(current, delta) == {"nodes": {"a": {"phase": "Succeeded"}}}


@given(documents, patches, patches)
def test_a_composed_patch_does_what_its_parts_do(
    document: dict[str, Any], first: dict[str, Any], then: dict[str, Any]
) -> None:
    assert apply(document, compose(first, then)) == apply(apply(document, first), then)


@given(documents, patches, patches)
def test_a_difference_is_a_plain_patch_with_the_same_effect(
    document: dict[str, Any], first: dict[str, Any], then: dict[str, Any]
) -> None:
    patch = compose(first, then)
    plain = difference(document, patch)
    assert "Replacement" not in repr(_types(plain))
    assert apply(document, plain) == apply(document, patch)


@given(documents, patches)
def test_nothing_differs_once_a_patch_is_applied(document: dict[str, Any], patch: dict[str, Any]) -> None:
    assert difference(apply(document, patch), patch) == {}


@given(documents, patches)
def test_nothing_given_is_changed(document: dict[str, Any], patch: dict[str, Any]) -> None:
    before = repr((document, patch))
    apply(document, patch)
    compose(document, patch)
    difference(document, patch)
    assert repr((document, patch)) == before


def _types(value: object) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return {type(value).__name__}.union(*(_types(inner) for inner in value.values()))
