"""Bounded building blocks that all resources share.

Every string, list and map of a resource has a bound: without them the API server cannot estimate what a validation rule costs,
and a resource could outgrow etcd.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

MAX_NODES = 2500
"""Nodes in one DAG: above about 3,000 the status of a run no longer fits the 1.5 MiB that etcd accepts for an object."""

_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

Duration = Annotated[str, StringConstraints(pattern=r"^([0-9]+(\.[0-9]+)?(ms|h|m|s))+$", max_length=32)]
"""A Go duration without sign, such as ``90s`` or ``1h30m``."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=63)]
"""A node's, template's or output's name. It becomes part of a Bacalhau job name, which is a path segment."""

NodeOrItem = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?(\[[0-9]+\])?$",
        max_length=70,
    ),
]
"""A node's name, or that of an item of a fan-out, such as ``count[3]``."""

Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=63)]
"""A parameter's name: an identifier, so that expressions can say ``params.name``."""

ResourceName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253),
]
"""The name of a Kubernetes object (RFC 1123 subdomain)."""

Description = Annotated[str, StringConstraints(max_length=1024)]
Message = Annotated[str, StringConstraints(max_length=4096)]
AbsolutePath = Annotated[str, StringConstraints(pattern=r"^/", max_length=1024)]
Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 40})]
"""An RFC 3339 time in UTC."""

AnyValue = Annotated[Any, WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True})]
"""Any JSON value: a parameter's value keeps the type that the user gave it."""

Arguments = Annotated[dict[Identifier, AnyValue], Field(max_length=200)]


ATOMIC_LIST: JsonDict = {"x-kubernetes-list-type": "atomic"}
ATOMIC_MAP: JsonDict = {"x-kubernetes-map-type": "atomic"}
BY_NAME: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
BY_TYPE: JsonDict = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}


class Model(BaseModel):
    """A part of a resource: camelCase on the wire, and unknown fields refused, since they are most often typing errors."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


def duration_seconds(duration: str) -> float:
    """Give the length in seconds of a duration such as ``1h30m``.

    Raises:
        ValueError: the text is not a duration.
    """
    parts = _DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f'"{duration}" is not a duration; write numbers with units, such as 90s or 1h30m')
    return sum(float(number) * _SECONDS_PER_UNIT[unit] for number, unit in parts)
