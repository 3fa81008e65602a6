"""The local control plane itself: what the other end-to-end tests, and people, take for granted about it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from dev.plane import ControlPlane
from dev.servers.bacalhau import BacalhauOptions
from dev.servers.kubectl import Kubectl, KubectlError
from dev.servers.process import ServerError, wait_until
from tests.support import wasm

pytestmark = pytest.mark.e2e


def test_kubernetes_reports_its_pinned_version(kubectl: Kubectl) -> None:
    assert "Server Version: v1.36.3" in kubectl("version")


def test_a_service_account_gets_no_more_than_its_rules_allow(
    plane: ControlPlane, kubectl: Kubectl, namespace: str
) -> None:
    kubectl("create", "serviceaccount", "reader", "-n", namespace)
    reader = Kubectl(plane.kubernetes.kubeconfig_for("reader", namespace=namespace), home=plane.directory)
    with pytest.raises(KubectlError, match="forbidden"):
        reader("get", "configmaps")

    kubectl(
        "create",
        "rolebinding",
        "reader",
        "--clusterrole=view",
        f"--serviceaccount={namespace}:reader",
        "-n",
        namespace,
    )
    assert "kube-root-ca.crt" in reader("get", "configmaps")


def test_garbage_is_collected(kubectl: Kubectl, namespace: str) -> None:
    kubectl("create", "configmap", "owner", "-n", namespace)
    uid = kubectl("get", "configmap", "owner", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    kubectl("create", "configmap", "owned", "-n", namespace)
    owner = f'{{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "{uid}"}}'
    kubectl(
        "patch",
        "configmap",
        "owned",
        "-n",
        namespace,
        "-p",
        f'{{"metadata": {{"ownerReferences": [{owner}]}}}}',
    )

    kubectl("delete", "configmap", "owner", "-n", namespace)

    kubectl("wait", "--for=delete", "configmap/owned", "-n", namespace, "--timeout=30s")


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"one.txt": b"1"}, id="a file"),
        pytest.param({"a/b/deep.txt": b"deep", "a/beside.txt": b"", "top.txt": b"top"}, id="folders"),
        pytest.param({"with space.txt": b"1", "größe%+.txt": b"2"}, id="names that need escaping"),
    ],
)
def test_ipfs_gives_back_the_directory_it_got(plane: ControlPlane, files: dict[str, bytes]) -> None:
    assert plane.ipfs.read_directory(plane.ipfs.add_directory(files)) == files


def test_ipfs_takes_a_directory_from_disk(plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"content")
    cid = plane.ipfs.add_path(tmp_path)
    assert plane.ipfs.cat(f"{cid}/below/file") == b"content"


def test_ipfs_gateway_serves_what_was_added(plane: ControlPlane) -> None:
    cid = plane.ipfs.add(b"seen through the gateway")
    response = httpx.get(f"{plane.ipfs.gateway_url}/ipfs/{cid}", follow_redirects=False)
    assert response.content == b"seen through the gateway"


def test_s3_gives_back_the_object_it_got(plane: ControlPlane) -> None:
    plane.s3.create_bucket("objects")
    plane.s3.put("objects", "a folder/größe+1", b"content")
    assert plane.s3.keys("objects", "a folder/") == ["a folder/größe+1"]
    assert plane.s3.get("objects", "a folder/größe+1") == b"content"


def test_s3_says_why_it_refuses(plane: ControlPlane) -> None:
    with pytest.raises(ServerError, match="NoSuchBucket"):
        plane.s3.get("missing", "key")


def test_bacalhau_publishes_to_ipfs(plane: ControlPlane) -> None:
    execution = run_job(plane, "to-ipfs", {"Type": "ipfs"}, "write", "/outputs/greeting", "hello")
    result = plane.ipfs.read_directory(execution["PublishedResult"]["Params"]["CID"])
    assert result["outputs/greeting"] == b"hello"


def test_bacalhau_publishes_to_s3(plane: ControlPlane) -> None:
    plane.s3.create_bucket("results")
    parameters = {
        "Bucket": "results",
        "Key": "{jobID}/{executionID}/",
        "Endpoint": plane.s3.endpoint,
        "Region": plane.s3.region,
        "Encoding": "plain",
    }
    execution = run_job(
        plane, "to-s3", {"Type": "s3", "Params": parameters}, "write", "/outputs/greeting", "hello"
    )
    key = execution["PublishedResult"]["Params"]["Key"]
    assert plane.s3.get("results", f"{key}outputs/greeting") == b"hello"


def test_bacalhau_publishes_to_its_own_disk(plane: ControlPlane) -> None:
    execution = run_job(plane, "to-disk", {"Type": "local"}, "write", "/outputs/greeting", "hello")
    archive = httpx.get(execution["PublishedResult"]["Params"]["URL"])
    assert archive.content.startswith(b"\x1f\x8b")  # gzip


class TestTestTool:
    """The WebAssembly program that other tests use: each of its verbs does on a real node what it says."""

    @pytest.mark.parametrize("code", [0, 7, 42])
    def test_exit(self, plane: ControlPlane, code: int) -> None:
        execution = run_job(plane, f"exit-{code}", None, "exit", str(code))
        assert execution["RunOutput"]["ExitCode"] == code

    def test_returning_counts_as_minus_one(self, plane: ControlPlane) -> None:
        assert run_job(plane, "return", None)["RunOutput"]["ExitCode"] == -1

    def test_output_streams(self, plane: ControlPlane) -> None:
        execution = run_job(plane, "streams", None, "stdout", "to out", "stderr", "to err", "exit", "0")
        assert execution["RunOutput"]["Stdout"] == "to out"
        assert execution["RunOutput"]["stderr"] == "to err"

    def test_reading_and_copying(self, plane: ControlPlane) -> None:
        cid = plane.ipfs.add_directory({"text": b"from upstream"})
        source = {"Source": {"Type": "ipfs", "Params": {"CID": cid}}, "Target": "/inputs/up"}
        words = ("cat", "/inputs/up/text", "copy", "/inputs/up/text", "/outputs/copied", "exit", "0")
        execution = run_job(plane, "copying", {"Type": "ipfs"}, *words, sources=[source])
        result = plane.ipfs.read_directory(execution["PublishedResult"]["Params"]["CID"])
        assert result["outputs/copied"] == b"from upstream"
        assert result["stdout"] == b"from upstream"

    def test_filling(self, plane: ControlPlane) -> None:
        execution = run_job(plane, "filling", {"Type": "ipfs"}, "fill", "/outputs/zeros", "100", "exit", "0")
        result = plane.ipfs.read_directory(execution["PublishedResult"]["Params"]["CID"])
        assert result["outputs/zeros"] == bytes(100_000)

    def test_sleeping_lasts_until_the_job_is_stopped(self, plane: ControlPlane) -> None:
        url = plane.bacalhau.url
        job = submit(url, wasm.job("sleeping", "sleep", "50000"))
        wait_until(lambda: state(url, job) == "Running", what="the job to run", timeout=30)
        httpx.delete(f"{url}/api/v1/orchestrator/jobs/{job}").raise_for_status()
        assert finished(url, job)["Job"]["State"]["StateType"] == "Stopped"

    def test_trap(self, plane: ControlPlane) -> None:
        job = submit(plane.bacalhau.url, wasm.job("trap", "trap"))
        wait_until(lambda: bool(failures(plane.bacalhau.url, job)), what="an execution to fail", timeout=30)
        assert "unreachable" in failures(plane.bacalhau.url, job)[0]

    def test_a_missing_input_is_exit_code_66(self, plane: ControlPlane) -> None:
        assert run_job(plane, "missing", None, "cat", "/inputs/nothing")["RunOutput"]["ExitCode"] == 66

    def test_an_unknown_verb_is_exit_code_64(self, plane: ControlPlane) -> None:
        assert run_job(plane, "unknown", None, "dance")["RunOutput"]["ExitCode"] == 64


class TestServersOnTheirOwn:
    """What damages or adds servers gets a plane for itself."""

    def test_bacalhau_keeps_its_jobs_through_a_crash(self, own_plane: ControlPlane) -> None:
        before = own_plane.bacalhau.pid
        job = submit(own_plane.bacalhau.url, wasm.job("survivor", "exit", "0"))
        finished(own_plane.bacalhau.url, job)

        own_plane.bacalhau.kill()
        assert not own_plane.bacalhau.running
        own_plane.bacalhau.start()

        assert own_plane.bacalhau.pid != before
        assert finished(own_plane.bacalhau.url, job)["Job"]["Name"] == "survivor"
        run_job(own_plane, "after-the-crash", None, "exit", "0")

    def test_the_api_server_keeps_its_objects_through_a_restart(self, own_plane: ControlPlane) -> None:
        own_plane.kubectl("create", "configmap", "survivor")
        own_plane.kubernetes.stop()
        with pytest.raises(KubectlError, match="refused"):
            own_plane.kubectl("get", "configmap", "survivor")
        own_plane.kubernetes.start()
        assert own_plane.kubectl("get", "configmap", "survivor", "-o", "name") == "configmap/survivor\n"

    def test_a_compute_node_joins_an_orchestrator(self, own_plane: ControlPlane) -> None:
        orchestrator = own_plane.start_bacalhau("orchestrator", BacalhauOptions(compute=False))
        own_plane.start_bacalhau("compute", BacalhauOptions(orchestrator=False, joins=orchestrator))
        job = submit(orchestrator.url, wasm.job("joined", "exit", "0"))
        assert finished(orchestrator.url, job)["Executions"]["Items"][0]["NodeID"] == "compute"

    def test_two_nodes_of_one_name_run_side_by_side(self, own_plane: ControlPlane) -> None:
        """Test modules share a plane, and do not know each other's names."""
        twins = [own_plane.start_bacalhau("twin", BacalhauOptions(compute=False)) for _ in range(2)]
        assert all(twin.healthy for twin in twins)

    def test_an_api_key_is_asked_for(self, own_plane: ControlPlane) -> None:
        key = "a-key-of-more-than-twenty-characters"
        node = own_plane.start_bacalhau("guarded", BacalhauOptions(api_key=key))
        jobs = f"{node.url}/api/v1/orchestrator/jobs"
        assert httpx.get(jobs).status_code == 401
        assert httpx.get(jobs, headers={"Authorization": f"Bearer {key}"}).status_code == 200

    def test_tls_is_served_with_a_certificate_that_clients_can_check(self, own_plane: ControlPlane) -> None:
        certificate = own_plane.issue_certificate("bacalhau")
        node = own_plane.start_bacalhau("encrypted", BacalhauOptions(certificate=certificate))
        assert httpx.get(f"{node.url}/api/v1/agent/alive", verify=certificate.trust).json() == {
            "Status": "OK"
        }
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(f"{node.url}/api/v1/agent/alive")

    def test_a_server_that_cannot_start_shows_its_log(self, own_plane: ControlPlane) -> None:
        options = BacalhauOptions(config={"API": {"Host": "not an address"}})
        with pytest.raises(ServerError, match="not an address"):
            own_plane.start_bacalhau("broken", options)


def test_nothing_outlives_a_killed_owner(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from dev.plane import ControlPlane\n"
        "plane = ControlPlane(pathlib.Path(sys.argv[1]))\n"
        "plane.start()\n"
        "print(*[server.pid for server in plane.servers], flush=True)\n"
        "time.sleep(600)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
        assert len(servers) == 6
        assert all(server.is_running() for server in servers)
        os.kill(owner.pid, signal.SIGKILL)

    wait_until(lambda: not any(alive(server) for server in servers), what="every server to end", timeout=10)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_job(
    plane: ControlPlane,
    name: str,
    publisher: dict[str, Any] | None,
    *words: str,
    sources: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Runs the test tool with those words to its end; its one execution."""
    job = submit(plane.bacalhau.url, wasm.job(name, *words, publisher=publisher, sources=sources or ()))
    result = finished(plane.bacalhau.url, job)
    assert result["Job"]["State"]["StateType"] == "Completed", result
    execution: dict[str, Any] = result["Executions"]["Items"][0]
    return execution


def failures(url: str, job_id: str) -> list[str]:
    """What the failed executions of a job say."""
    executions = shown(url, job_id)["Executions"]["Items"]
    return [
        execution["ComputeState"]["Message"]
        for execution in executions
        if execution["ComputeState"]["StateType"] == 10
    ]


def submit(url: str, job: dict[str, Any]) -> str:
    response = httpx.put(f"{url}/api/v1/orchestrator/jobs", json={"Job": job})
    job_id: str = response.raise_for_status().json()["JobID"]
    return job_id


def finished(url: str, job_id: str) -> dict[str, Any]:
    """A job with its executions, once it has ended."""
    wait_until(
        lambda: state(url, job_id) in {"Completed", "Failed", "Stopped"}, what="the job to end", timeout=30
    )
    return shown(url, job_id)


def state(url: str, job_id: str) -> str:
    return str(shown(url, job_id)["Job"]["State"]["StateType"])


def shown(url: str, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{url}/api/v1/orchestrator/jobs/{job_id}?include=executions").json()
    return answer
