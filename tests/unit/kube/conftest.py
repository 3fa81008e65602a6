"""An API server in memory with one DAG, and the writer of that DAG's status."""

from collections.abc import AsyncIterator

import pytest

from controller.kube.objects import ObjectRef, Objects, Resource
from controller.kube.status import StatusWriter
from controller.kube.stored import StoredObject
from tests.support.fake_kube import Body, FakeKube

DAGS = Resource("bacalhau.org", "v1alpha1", "bacalhaudags", "BacalhauDAG")
PATH = "/apis/bacalhau.org/v1alpha1/namespaces/default/bacalhaudags/word-count"


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
def objects(kube: FakeKube) -> Objects:
    return Objects(kube.client())


@pytest.fixture
def dag(kube: FakeKube) -> Body:
    return kube.put(PATH, {"kind": "BacalhauDAG", "spec": {"nodes": []}, "status": {"phase": "Running"}})


@pytest.fixture
def stored(objects: Objects, dag: Body) -> StoredObject:
    return StoredObject(objects, ObjectRef.of(DAGS, dag), dag)


@pytest.fixture
async def writer(stored: StoredObject) -> AsyncIterator[StatusWriter]:
    writer = StatusWriter(stored)
    yield writer
    await writer.close()
