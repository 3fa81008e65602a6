"""JSON merge patches (RFC 7386) as values: apply one, compose two, cut one down to what it changes.

A patch replaces lists whole, and a None in it deletes. The functions never change what they are given; what
a patch leaves alone is shared with the result, so that applying a small patch to a large status is cheap.

Merge patches alone do not compose: "delete ``a``" followed by "set ``a.x``" has no spelling that forgets the
old ``a.y``. ``Replacement`` is that missing word; it exists in pending patches only, and ``difference`` turns it
into a plain patch against what is stored.
"""

from collections.abc import Mapping
from typing import Any

Patch = Mapping[str, Any]


class Replacement(dict[str, Any]):
    """An object inside a patch that takes the place of whatever was there, instead of being merged into it."""


def apply(target: Patch, patch: Patch) -> dict[str, Any]:
    """What ``target`` becomes when ``patch`` is merged into it."""
    result = {} if isinstance(patch, Replacement) else dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            result[key] = apply(_mapping(result.get(key)), value)
        else:
            result[key] = value
    return result


def compose(first: Patch, then: Patch) -> dict[str, Any]:
    """One patch with the effect of applying ``first`` and then ``then``."""
    if isinstance(then, Replacement):
        return then
    if isinstance(first, Replacement):
        return Replacement(apply(first, then))
    result = dict(first)
    for key, value in then.items():
        result[key] = _compose_value(first[key], value) if key in first else value
    return result


def difference(current: Patch, patch: Patch) -> dict[str, Any]:
    """The plain merge patch with which ``patch`` would change ``current``; empty if it would change nothing."""
    replaced = isinstance(patch, Replacement)
    result: dict[str, Any] = {key: None for key in current if key not in patch} if replaced else {}
    for key, value in patch.items():
        present = current.get(key)
        if isinstance(value, Mapping):
            inner = difference(_mapping(present), Replacement(value) if replaced else value)
            if inner or not isinstance(present, Mapping):
                result[key] = inner
        elif value != present:
            result[key] = value
    return result


def _compose_value(first: object, then: object) -> object:
    if not isinstance(then, Mapping):
        return then
    if isinstance(first, Mapping):
        return compose(first, then)
    return Replacement(apply({}, then))


def _mapping(value: object) -> Patch:
    """A patch object that is merged into anything but an object starts from an empty one."""
    return value if isinstance(value, Mapping) else {}
