"""Who a job is: the names and fingerprints that make a submission exactly-once.

A Bacalhau job name is unique in its namespace for ever, so the name of an attempt is a function of what the attempt is and of nothing
else: whoever computes it, before or after a crash, gets the same name.
"""

import hashlib
import json
import re
from typing import Any

LABEL_PREFIX = "dag.bacalhau.org/"
"""Of the labels and metadata that the operator adds to a job. Bacalhau drops metadata under ``bacalhau.org/``."""

NODE_LABEL = LABEL_PREFIX + "node"
ATTEMPT_LABEL = LABEL_PREFIX + "attempt"
DAG_LABEL = LABEL_PREFIX + "dag"
NAMESPACE_LABEL = LABEL_PREFIX + "namespace"
UID_LABEL = LABEL_PREFIX + "uid"
HASH_META = LABEL_PREFIX + "spec-hash"

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def job_name(*, dag: str, uid: str, node: str, attempt: int) -> str:
    """Name the job of one attempt. Only ``[A-Za-z0-9._-]``: Bacalhau treats ``/`` and ``:`` in names specially."""
    digest = fingerprint([uid, node, attempt])[:10]
    return f"{_UNSAFE.sub('-', dag)[:63]}-{node}-{digest}"


def run_namespace(*, namespace: str, dag: str, uid: str) -> str:
    """Name the Bacalhau namespace of one run, so that listing it costs what the run holds, not what history holds."""
    return f"{namespace}.{_UNSAFE.sub('-', dag)[:100]}-{uid.replace('-', '')[:8]}"


def fingerprint(value: Any) -> str:
    """Give the SHA-256 of a JSON value, the same for any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
