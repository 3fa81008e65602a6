"""What the API server itself refuses, beyond types and bounds: CEL rules of the CRDs, in one place.

The API server estimates each rule by the limits of the schema (2,500 nodes of 2,500 dependencies each) and rejects
a CRD that could exceed its budget. So a rule looks at one node, or compares two values whole; none walks from node
to node. Looking for a node among its own `inputs` would already cost twenty times too much. That, cycles, unknown
names and expressions are for the operator to check.

An entry names the schema that its rule is written on; `[]` are the entries of a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from controller.api.dag import DAGSpec
from controller.api.schema import RULES, Schema

__all__ = ["CONNECTION_RULES", "CONTROLS", "DAG_RULES", "Rule", "add_rules"]

Rule = Mapping[str, str]

CONTROLS: Final = ("approvals", "description", "parallelism", "retry", "shutdown", "suspend")
"""Fields of a DAG's spec that may change while it runs; a new field may not, unless it is added here."""


def _frozen_after_start(name: str, *, required: bool) -> Rule:
    """A started run follows the graph that it started with; another graph needs another run.

    The rule sits on the resource itself, the only place that sees both status and spec. The estimator prices an
    equality by the entries of the outermost list alone, and equality does not stop at unknown fields of jobs.
    It is evaluated at each write of the status too, where it adds a fifth (500 nodes) to a third (2,500) to what
    the API server spends on the write anyway.
    """
    new, old = f"self.spec.{name}", f"oldSelf.spec.{name}"
    same = f"{new} == {old}" if required else f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"
    return {
        "rule": f"!has(oldSelf.status) || !has(oldSelf.status.startTime) || {same}",
        "message": f"spec.{name} cannot change: the DAG has started. Only {', '.join(CONTROLS[:-1])} and "
        f"{CONTROLS[-1]} may. Create another DAG to run another graph.",
        "fieldPath": f".spec.{name}",
        "reason": "FieldValueForbidden",
    }


def _frozen_graph() -> Iterator[Rule]:
    for name, field in DAGSpec.model_fields.items():
        spelling = field.alias or name
        if spelling not in CONTROLS:
            yield _frozen_after_start(spelling, required=field.is_required())


EXACTLY_ONE_JOB: Final[Rule] = {
    "rule": "[has(self.job), has(self.template), has(self.suspend)].filter(given, given).size() == 1",
    "messageExpression": "'node \"' + self.name + '\" needs exactly one of job, template and suspend'",
    "message": "a node needs exactly one of job, template and suspend",
}

NO_SELF_DEPENDENCY: Final[Rule] = {
    "rule": "!has(self.dependencies) || !(self.name in self.dependencies)",
    "messageExpression": "'node \"' + self.name + '\" cannot depend on itself'",
    "message": "a node cannot depend on itself",
    "fieldPath": ".dependencies",
}

DEPENDS_OR_DEPENDENCIES: Final[Rule] = {
    "rule": "!(has(self.depends) && has(self.dependencies))",
    "messageExpression": "'node \"' + self.name + '\" has both depends and dependencies'",
    "message": "a node has either depends or dependencies",
}

NOT_ITS_OWN_HEIR: Final[Rule] = {
    "rule": "!has(self.spec.reuseFrom) || self.spec.reuseFrom.name != self.metadata.name",
    "message": "spec.reuseFrom names the DAG itself: name an earlier one, or set spec.retry.id to run this one again",
    "fieldPath": ".spec.reuseFrom.name",
}

NEW_NODES_NEED_A_NEW_ID: Final[Rule] = {
    "rule": "self.id != oldSelf.id || has(self.nodes) == has(oldSelf.nodes) && (!has(self.nodes) || self.nodes == oldSelf.nodes)",
    "message": "spec.retry.nodes changed but spec.retry.id did not: set another id, or nothing runs again",
    "fieldPath": ".id",
}

EXACTLY_ONE_SOURCE: Final[Rule] = {
    "rule": "has(self.configMapKeyRef) != has(self.secretKeyRef)",
    "message": "valueFrom needs exactly one of configMapKeyRef and secretKeyRef",
}

SECRETS_ARE_STRINGS: Final[Rule] = {
    "rule": "!has(self.valueFrom) || !has(self.valueFrom.secretKeyRef) || !has(self.type) || self.type == 'string'",
    "messageExpression": "'parameter \"' + self.name + '\" comes from a Secret, so it is of type string'",
    "message": "a parameter from a Secret is of type string",
}

EXACTLY_ONE_CREDENTIAL: Final[Rule] = {
    "rule": "has(self.tokenSecretRef) != has(self.basicSecretRef)",
    "message": "auth needs exactly one of tokenSecretRef and basicSecretRef",
}

DAG_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "": (*_frozen_graph(), NOT_ITS_OWN_HEIR),
    "spec.retry": (NEW_NODES_NEED_A_NEW_ID,),
    "spec.parameters[]": (SECRETS_ARE_STRINGS,),
    "spec.parameters[].valueFrom": (EXACTLY_ONE_SOURCE,),
    "spec.nodes[]": (EXACTLY_ONE_JOB, NO_SELF_DEPENDENCY, DEPENDS_OR_DEPENDENCIES),
    "spec.finally[]": (EXACTLY_ONE_JOB,),
}
CONNECTION_RULES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "spec.auth": (EXACTLY_ONE_CREDENTIAL,),
}


def add_rules(schema: Schema, rules: Mapping[str, tuple[Rule, ...]]) -> None:
    """Write rules into a resource's schema. Raises `KeyError` if a path leads nowhere."""
    for path, entries in rules.items():
        _at(schema, path).setdefault(RULES, []).extend(dict(rule) for rule in entries)


def _at(schema: Schema, path: str) -> Schema:
    for step in filter(None, path.split(".")):
        schema = schema["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            schema = schema["items"]
    return schema
