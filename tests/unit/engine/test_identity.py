"""Names and fingerprints."""

import re

import pytest

from controller.engine.identity import fingerprint, job_name, run_namespace


def test_an_attempt_has_one_name_and_no_other_has_it() -> None:
    names = {
        job_name(dag="wc", uid=uid, node=node, attempt=attempt)
        for uid in ("u1", "u2")
        for node in ("a", "b", "a-1")
        for attempt in (1, 2, 11)
    }
    assert len(names) == 18
    assert job_name(dag="wc", uid="u1", node="a", attempt=1) in names


@pytest.mark.parametrize("dag", ["wc", "a.b-c", "x" * 253, "odd/name:1"])
def test_names_are_safe_in_a_path_and_short(dag: str) -> None:
    name = job_name(dag=dag, uid="u", node="N_1.x-y", attempt=1)
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,140}", name)
    namespace = run_namespace(namespace="lab", dag=dag, uid="6f1c0c6e-0000-4000-8000-000000000001")
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,180}", namespace)


def test_runs_of_one_name_have_namespaces_of_their_own() -> None:
    uids = ["6f1c0c6e-0000-4000-8000-000000000001", "7f1c0c6e-0000-4000-8000-000000000001"]
    assert len({run_namespace(namespace="lab", dag="wc", uid=uid) for uid in uids}) == 2
    assert run_namespace(namespace="lab", dag="wc", uid=uids[0]) == "lab.wc-6f1c0c6e"


def test_a_fingerprint_ignores_the_order_of_keys_and_nothing_else() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    different = [{"a": 1}, {"a": "1"}, {"a": True}, {"a": None}, {}, {"a": [1]}, ["a", 1], {"a": 1.5}]
    assert len({fingerprint(value) for value in different}) == len(different)
