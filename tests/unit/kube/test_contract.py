"""What the operator relies on of an API server, asked of a real one and of the one in memory alike."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf
import pytest
from kubernetes.aio.client import ApiClient, CustomObjectsApi

from controller.kube import finalizer, kopf_settings
from controller.kube.client import Cluster
from controller.kube.errors import Conflict, Forbidden, Gone, Refused, Unavailable
from controller.kube.events import EventRecorder
from controller.kube.lease import Lease
from controller.kube.merge import apply
from controller.kube.objects import ObjectRef, Objects, Resource
from controller.kube.secrets import SecretMissing, read_secret_key
from controller.kube.status import Lost, StatusWriter
from controller.kube.stored import StoredObject
from dev.plane import ControlPlane
from dev.servers.kubectl import Kubectl
from tests.support.fake_kube import FakeKube

NOTES = Resource("contract.bacalhau.org", "v1", "notes", "Note")
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"{NOTES.plural}.{NOTES.group}"},
    "spec": {
        "group": NOTES.group,
        "names": {"kind": NOTES.kind, "plural": NOTES.plural},
        "scope": "Namespaced",
        "versions": [
            {
                "name": NOTES.version,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": ANYTHING,
                            "status": {
                                **ANYTHING,
                                "properties": {"phase": {"type": "string", "maxLength": 10}},
                            },
                        },
                    }
                },
            }
        ],
    },
}

LARGE = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
"""aiohttp warns of bodies above 1 MiB, which these tests send on purpose."""


@pytest.fixture(scope="session")
def notes(plane: ControlPlane) -> None:
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/{NOTES.plural}.{NOTES.group}")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.e2e)])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[tuple[ApiClient, str]]:
    """A client of either API server, and a namespace for the test."""
    if request.param == "fake":
        yield FakeKube().client(), "default"
        return
    request.getfixturevalue("notes")
    plane: ControlPlane = request.getfixturevalue("plane")
    namespace: str = request.getfixturevalue("namespace")
    cluster = await Cluster.connect(plane.kubeconfig)
    yield cluster.client, namespace
    await cluster.close()


@pytest.fixture
def client(server: tuple[ApiClient, str]) -> ApiClient:
    return server[0]


@pytest.fixture
def place(server: tuple[ApiClient, str]) -> str:
    return server[1]


@pytest.fixture
def objects(client: ApiClient) -> Objects:
    return Objects(client)


@pytest.fixture
async def note(objects: Objects, place: str) -> dict[str, Any]:
    return await create(objects, place, "first")


@pytest.fixture
def ref(note: dict[str, Any]) -> ObjectRef:
    return ObjectRef.of(NOTES, note)


async def create(objects: Objects, place: str, name: str) -> dict[str, Any]:
    body = {
        "apiVersion": NOTES.api_version,
        "kind": NOTES.kind,
        "metadata": {"name": name},
        "spec": {"text": "hello"},
    }
    return await objects.create(NOTES, place, body)


async def delete(client: ApiClient, ref: ObjectRef) -> None:
    resource = ref.resource
    await CustomObjectsApi(client).delete_namespaced_custom_object(
        resource.group, resource.version, ref.namespace, resource.plural, ref.name
    )


def fence(body: dict[str, Any], **other: str) -> dict[str, str]:
    metadata = body["metadata"]
    return {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"], **other}


class TestObjects:
    async def test_a_new_object_has_an_identity_and_the_first_generation(self, note: dict[str, Any]) -> None:
        assert note["metadata"]["uid"]
        assert note["metadata"]["generation"] == 1
        assert int(note["metadata"]["resourceVersion"]) > 0

    async def test_a_name_can_be_taken_once(self, objects: Objects, place: str, note: dict[str, Any]) -> None:
        with pytest.raises(Conflict, match="already exists"):
            await create(objects, place, "first")

    async def test_what_is_not_there_is_gone(self, objects: Objects, place: str, client: ApiClient) -> None:
        missing = ObjectRef(NOTES, place, "missing")
        with pytest.raises(Gone, match="not found"):
            await objects.get(missing)
        with pytest.raises(Gone):
            await objects.patch(missing, {"spec": {}})
        with pytest.raises(Gone):
            await objects.patch_status(missing, {"status": {}})

    async def test_a_status_write_changes_the_status_only(self, objects: Objects, ref: ObjectRef) -> None:
        await objects.patch_status(ref, {"status": {"phase": "Running"}, "spec": {"text": "changed"}})
        body = await objects.get(ref)
        assert body["spec"] == {"text": "hello"}
        assert body["status"] == {"phase": "Running"}
        assert body["metadata"]["generation"] == 1

    async def test_a_write_changes_everything_but_the_status(self, objects: Objects, ref: ObjectRef) -> None:
        await objects.patch(ref, {"status": {"phase": "Running"}, "spec": {"text": "changed"}})
        body = await objects.get(ref)
        assert body["spec"] == {"text": "changed"}
        assert "status" not in body
        assert body["metadata"]["generation"] == 2

    async def test_the_generation_counts_changes_of_the_spec(self, objects: Objects, ref: ObjectRef) -> None:
        metadata = await objects.patch(ref, {"metadata": {"labels": {"a": "b"}}})
        assert metadata["generation"] == 1
        metadata = await objects.patch(ref, {"spec": {"text": "changed"}})
        assert metadata["generation"] == 2

    async def test_versions_grow(self, objects: Objects, ref: ObjectRef, note: dict[str, Any]) -> None:
        versions = [int(note["metadata"]["resourceVersion"])]
        for number in range(12):
            metadata = await objects.patch_status(ref, {"status": {"number": number}})
            versions.append(int(metadata["resourceVersion"]))
        assert versions == sorted(set(versions))

    async def test_a_write_that_changes_nothing_keeps_the_version(
        self, objects: Objects, ref: ObjectRef
    ) -> None:
        first = await objects.patch_status(ref, {"status": {"phase": "Running"}})
        again = await objects.patch_status(ref, {"status": {"phase": "Running"}})
        assert first["resourceVersion"] == again["resourceVersion"]

    async def test_the_answer_to_a_write_is_metadata(
        self, objects: Objects, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        metadata = await objects.patch(ref, {"metadata": {"finalizers": ["example.org/other"]}})
        assert metadata["uid"] == note["metadata"]["uid"]
        assert metadata["finalizers"] == ["example.org/other"]

    async def test_a_fence_that_holds_lets_through(
        self, objects: Objects, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        await objects.patch_status(ref, {"metadata": fence(note), "status": {"phase": "Running"}})
        body = await objects.get(ref)
        assert body["status"] == {"phase": "Running"}

    async def test_a_stale_fence_keeps_out(
        self, objects: Objects, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        await objects.patch(ref, {"spec": {"text": "changed"}})
        with pytest.raises(Conflict, match="modified"):
            await objects.patch_status(ref, {"metadata": fence(note), "status": {"phase": "Running"}})
        with pytest.raises(Conflict, match="modified"):
            await objects.patch(ref, {"metadata": fence(note)})

    async def test_a_namesake_is_kept_out(
        self, objects: Objects, client: ApiClient, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        await delete(client, ref)
        await create(objects, ref.namespace, ref.name)
        with pytest.raises(Conflict):
            await objects.patch_status(ref, {"metadata": fence(note), "status": {"phase": "Running"}})

    @pytest.mark.parametrize(
        "patches",
        [
            [{"a": 1}, {"a": None}],
            [{"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": {}}}],
            [{"a": [1, 2]}, {"a": [3]}],
            [{"a": {"b": 1}}, {"a": "text"}, {"a": {"c": 2}}],
            [{"a": {"b": {"c": None, "d": 1}}}],
        ],
    )
    async def test_merge_patches_are_applied_as_here(
        self, objects: Objects, ref: ObjectRef, patches: list[dict[str, Any]]
    ) -> None:
        expected: dict[str, Any] = {"phase": "Running"}
        for patch in [{"phase": "Running"}, *patches]:
            await objects.patch_status(ref, {"status": patch})
            expected = apply(expected, patch)
        body = await objects.get(ref)
        assert body["status"] == expected

    @LARGE
    @pytest.mark.parametrize("megabytes", [1.7, 2.5, 4])
    async def test_an_object_can_be_too_large(
        self, objects: Objects, ref: ObjectRef, megabytes: float
    ) -> None:
        with pytest.raises(Refused) as refusal:
            await objects.patch_status(ref, {"status": {"text": "x" * int(megabytes * 1e6)}})
        assert refusal.value.too_large

    async def test_a_deleted_object_stays_until_its_finalizers_are_gone(
        self, objects: Objects, client: ApiClient, ref: ObjectRef
    ) -> None:
        await objects.patch(ref, {"metadata": {"finalizers": ["example.org/other"]}})
        await delete(client, ref)
        body = await objects.get(ref)
        assert "deletionTimestamp" in body["metadata"]
        with pytest.raises(Refused, match="no new finalizers"):
            await objects.patch(ref, {"metadata": {"finalizers": ["example.org/other", "example.org/more"]}})
        await objects.patch(ref, {"metadata": {"finalizers": []}})
        with pytest.raises(Gone):
            await objects.get(ref)


class TestWriters:
    async def test_a_status_is_written_through_conflicts(
        self, objects: Objects, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        writer = StatusWriter(StoredObject(objects, ref, note))
        for number in range(5):
            await objects.patch(ref, {"spec": {"text": str(number)}})
            writer.update({"nodes": {str(number): {"phase": "Succeeded"}}}, urgent=True)
            await writer.flush()
        body = await objects.get(ref)
        assert sorted(body["status"]["nodes"]) == ["0", "1", "2", "3", "4"]
        assert body["metadata"]["resourceVersion"] == str(writer.resource_version)

    async def test_a_writer_falls_silent_before_a_namesake(
        self, objects: Objects, client: ApiClient, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        writer = StatusWriter(StoredObject(objects, ref, note))
        await delete(client, ref)
        await create(objects, ref.namespace, ref.name)
        writer.update({"phase": "Running"})
        await writer.flush()
        assert writer.lost is Lost.REPLACED
        assert "status" not in await objects.get(ref)

    @LARGE
    async def test_a_status_that_grows_too_large_keeps_what_it_has(
        self, objects: Objects, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        writer = StatusWriter(StoredObject(objects, ref, note), on_refused=lambda _: {"message": "too large"})
        writer.update({"nodes": {"a": {"phase": "Succeeded"}}})
        await writer.flush()
        writer.update({"nodes": {"b": {"message": "x" * 2_000_000}}, "phase": "Failed"})
        await writer.flush()
        body = await objects.get(ref)
        assert body["status"] == {
            "nodes": {"a": {"phase": "Succeeded"}},
            "phase": "Failed",
            "message": "too large",
        }

    async def test_releasing_the_finalizer_lets_a_deleted_object_go(
        self, objects: Objects, client: ApiClient, ref: ObjectRef, note: dict[str, Any]
    ) -> None:
        writer = StatusWriter(StoredObject(objects, ref, note))
        await finalizer.hold(writer.stored)
        await delete(client, ref)
        assert finalizer.FINALIZER in (await objects.get(ref))["metadata"]["finalizers"]
        writer.update({"phase": "Cancelled"}, urgent=True)
        await writer.flush()
        await finalizer.release(writer.stored)
        with pytest.raises(Gone):
            await objects.get(ref)


class TestLease:
    async def test_it_changes_hands(self, objects: Objects, place: str) -> None:
        first, second = (
            Lease(objects, namespace=place, name="leader", identity=name, retry_every=0.1) for name in "ab"
        )
        await first.acquire()
        keeping = asyncio.create_task(first.keep(lambda: pytest.fail("lost")))
        waiting = asyncio.create_task(second.acquire())
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
        keeping.cancel()
        await asyncio.wait({keeping})
        await first.release()
        async with asyncio.timeout(10):
            await waiting
        body = await objects.get(ObjectRef(first._ref.resource, place, "leader"))
        assert body["spec"]["holderIdentity"] == "b"
        assert body["spec"]["leaseTransitions"] == 1


async def test_events_are_accepted(client: ApiClient, ref: ObjectRef) -> None:
    recorder = EventRecorder(client, instance="operator-7d9f")
    posting = asyncio.create_task(recorder.run())
    recorder.emit(ref, type="Warning", reason="NodeFailed", message='node "count": exit code 7.')
    async with asyncio.timeout(10):
        await recorder.flush()
    posting.cancel()
    await asyncio.wait({posting})
    assert recorder._dropped == 0


@pytest.mark.e2e
async def test_kubectl_describe_tells_what_happened(
    plane: ControlPlane, notes: None, namespace: str, kubectl: Kubectl
) -> None:
    cluster = await Cluster.connect(plane.kubeconfig)
    ref = ObjectRef.of(NOTES, await create(Objects(cluster.client), namespace, "first"))
    recorder = EventRecorder(cluster.client, instance="operator-7d9f")
    posting = asyncio.create_task(recorder.run())
    recorder.emit(ref, type="Normal", reason="Started", message="Running 2 nodes.")
    recorder.emit(ref, type="Warning", reason="NodeFailed", message='node "count": exit code 7.')
    async with asyncio.timeout(10):
        await recorder.flush()
    posting.cancel()
    await asyncio.wait({posting})
    await cluster.close()
    text = await asyncio.to_thread(kubectl, "describe", "notes", "first", "-n", namespace)
    events = [line.split() for line in text.partition("Events:")[2].splitlines()[3:]]
    assert [(line[0], line[1], line[3], " ".join(line[4:])) for line in events] == [
        ("Normal", "Started", "bacalhau-dag-operator", "Running 2 nodes."),
        ("Warning", "NodeFailed", "bacalhau-dag-operator", 'node "count": exit code 7.'),
    ]


@pytest.mark.e2e
async def test_kopf_is_let_in_with_the_same_credentials(plane: ControlPlane) -> None:
    cluster = await Cluster.connect(plane.kubeconfig)
    info = await cluster.login()
    await cluster.close()
    connector = aiohttp.TCPConnector(ssl=info.as_ssl_context())
    async with (
        aiohttp.ClientSession(connector=connector, headers=info.as_http_headers()) as session,
        session.get(f"{info.server}/api/v1/namespaces") as answer,
    ):
        assert answer.status == 200


@pytest.mark.e2e
async def test_kopf_watches_and_leaves_no_trace(plane: ControlPlane, notes: None, namespace: str) -> None:
    cluster = await Cluster.connect(plane.kubeconfig)
    objects = Objects(cluster.client)
    seen: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(cluster.login)

    @kopf.on.event(NOTES.group, NOTES.version, NOTES.plural, registry=registry)
    async def observe(body: kopf.Body, **_: Any) -> None:
        seen.put_nowait((str(body.metadata.name), str(body.metadata["resourceVersion"])))

    settings = kopf.OperatorSettings()
    kopf_settings.configure(settings)
    stop = asyncio.Event()
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry, settings=settings, standalone=True, namespaces=[namespace], stop_flag=stop
        )
    )
    created = await create(objects, namespace, "first")
    async with asyncio.timeout(30):
        assert await seen.get() == ("first", created["metadata"]["resourceVersion"])
        changed = await objects.patch(ObjectRef.of(NOTES, created), {"spec": {"text": "changed"}})
        assert await seen.get() == ("first", changed["resourceVersion"])
        stop.set()
        await operator
    body = await objects.get(ObjectRef.of(NOTES, created))
    assert body["metadata"]["resourceVersion"] == changed["resourceVersion"]
    await cluster.close()
    await all_sockets_closed()


async def all_sockets_closed() -> None:
    """Wait for what nobody tells: kopf drops its watch without waiting for the end of TLS, and the loop must outlive that."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while len(selector.get_map()) > 1:  # noqa: ASYNC110 - no event tells it; the one that is left is the loop's own
            await asyncio.sleep(0.01)


@pytest.mark.e2e
async def test_who_may_not_write_is_told_so(plane: ControlPlane, namespace: str, kubectl: Kubectl) -> None:
    await asyncio.to_thread(kubectl, "create", "serviceaccount", "guest", "-n", namespace)
    kubeconfig = await asyncio.to_thread(plane.kubernetes.kubeconfig_for, "guest", namespace=namespace)
    cluster = await Cluster.connect(kubeconfig)
    assert cluster.namespace == namespace
    with pytest.raises(Forbidden, match="cannot get resource"):
        await Objects(cluster.client).get(ObjectRef(NOTES, namespace, "first"))
    cluster.client.configuration.api_key["BearerToken"] = "Bearer nonsense"
    with pytest.raises(Unavailable, match="Unauthorized"):
        await Objects(cluster.client).get(ObjectRef(NOTES, namespace, "first"))
    await cluster.close()


@pytest.mark.e2e
async def test_secrets_are_read_by_key(plane: ControlPlane, namespace: str, kubectl: Kubectl) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login"},
        "data": {"token": _encoded(b"s3cret"), "image": _encoded(b"\xff\xfe")},
    }
    await asyncio.to_thread(kubectl, "create", "-n", namespace, "-f", "-", stdin=json.dumps(secret))
    cluster = await Cluster.connect(plane.kubeconfig)

    async def read(name: str, key: str) -> str:
        return await read_secret_key(cluster.client, namespace=namespace, name=name, key=key)

    assert await read("login", "token") == "s3cret"
    with pytest.raises(SecretMissing, match='no Secret "missing"'):
        await read("missing", "token")
    with pytest.raises(SecretMissing, match='has no key "password"'):
        await read("login", "password")
    with pytest.raises(SecretMissing, match="is not text"):
        await read("login", "image")
    await cluster.close()


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
