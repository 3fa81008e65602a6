"""Who a job is: the names and fingerprints that make a submission exactly-once.

A Bacalhau job name is unique in its namespace for ever, so the name of an attempt is a function of what the attempt is and of nothing
else: whoever computes it, before or after a crash, gets the same name.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from controller.api.bacalhau import META_PREFIX

NODE_LABEL = META_PREFIX + "node"
ITEM_LABEL = META_PREFIX + "item"
ATTEMPT_LABEL = META_PREFIX + "attempt"
DAG_LABEL = META_PREFIX + "dag"
NAMESPACE_LABEL = META_PREFIX + "namespace"
UID_LABEL = META_PREFIX + "uid"

_ITEM = re.compile(r"(?P<node>[^\[\]]+)\[(?P<number>0|[1-9][0-9]{0,4})\]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def job_name(*, dag: str, uid: str, node: str, attempt: int) -> str:
    """Name the job of one attempt. Only ``[A-Za-z0-9._-]``: Bacalhau treats ``/`` and ``:`` in names specially."""
    digest = fingerprint([uid, node, attempt])[:10]
    return f"{_UNSAFE.sub('-', dag)[:63]}-{_UNSAFE.sub('-', node).strip('-')}-{digest}"


def node_of(meta: Mapping[str, str]) -> str | None:
    """Read the name of the node, or item, that a job belongs to; None if it is no node's."""
    node, number = meta.get(NODE_LABEL), meta.get(ITEM_LABEL)
    return node if node is None or number is None else item_name(node, number)


def item_name(node: str, number: int | str) -> str:
    """Name an item as the status does."""
    return f"{node}[{number}]"


def parse_item(name: str) -> tuple[str, int] | None:
    """Read the name of an item; None if it is not one."""
    match = _ITEM.fullmatch(name)
    return (match["node"], int(match["number"])) if match else None


def run_namespace(*, namespace: str, dag: str, uid: str) -> str:
    """Name the Bacalhau namespace of one run, so that listing it costs what the run holds, not what history holds."""
    return f"{namespace}.{_UNSAFE.sub('-', dag)[:100]}-{uid.replace('-', '')[:8]}"


def fingerprint(value: Any) -> str:
    """Give the SHA-256 of a JSON value, the same for any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
