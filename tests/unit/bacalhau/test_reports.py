"""What Bacalhau reports is read tolerantly, and its peculiarities are undone."""

import pytest

from controller.api.bacalhau import ComputeNode, ComputeState, Execution, Job, JobState


def test_a_job_is_read_from_the_wire() -> None:
    job = Job.model_validate_json(
        """{"ID": "j-1", "Name": "a", "Namespace": "ns", "Type": "batch", "Version": 2, "Revision": 5,
        "State": {"StateType": "Queued", "Message": "not enough nodes"}, "CreateTime": 1700000000500000000,
        "ModifyTime": 1700000001000000000, "Labels": {"dag": "d"}, "Meta": {"k": "v"}, "Tasks": [{"Name": "main"}],
        "SomethingNew": {"a": 1}}"""
    )
    assert (job.id, job.name, job.namespace, job.type) == ("j-1", "a", "ns", "batch")
    assert (job.state, job.state_message) == (JobState.QUEUED, "not enough nodes")
    assert (job.version, job.revision) == (2, 5)
    assert (job.created_at, job.modified_at) == (1_700_000_000.5, 1_700_000_001.0)
    assert (job.labels, job.meta, job.tasks) == ({"dag": "d"}, {"k": "v"}, ({"Name": "main"},))
    assert job.executions is None


def test_nulls_and_missing_keys_are_defaults() -> None:
    job = Job.model_validate({"ID": "j-1", "Name": None, "Labels": None, "Tasks": None, "State": None})
    assert job == Job(id="j-1")


def test_code_uses_python_names_and_seconds() -> None:
    assert Job(id="j-1", created_at=12.5).created_at == 12.5


@pytest.mark.parametrize(
    ("state", "terminal"),
    [
        ("Pending", False),
        ("Queued", False),
        ("Running", False),
        ("Completed", True),
        ("Failed", True),
        ("Stopped", True),
    ],
)
def test_job_states(state: str, terminal: bool) -> None:
    job = Job.model_validate({"State": {"StateType": state}})
    assert job.state == state
    assert job.state.is_terminal is terminal


@pytest.mark.parametrize("state", ["Hibernating", None, 7])
def test_an_unknown_job_state_is_undefined(state: object) -> None:
    job = Job.model_validate({"State": {"StateType": state}})
    assert job.state is JobState.UNDEFINED
    assert not job.state.is_terminal


def test_compute_states_are_integers() -> None:
    terminal = {state for state in ComputeState if state.is_terminal}
    assert terminal == {4, 8, 9, 10, 11}
    assert ComputeState(99) is ComputeState.UNDEFINED


def test_an_execution_is_read_from_the_wire() -> None:
    execution = Execution.model_validate(
        {
            "ID": "e-1",
            "NodeID": "n-1",
            "JobVersion": 1,
            "ComputeState": {"StateType": 9, "Message": "Running"},
            "PublishedResult": {"Type": "ipfs", "Params": {"CID": "QmX"}},
            "RunOutput": {"Stdout": "out", "stderr": "err", "ExitCode": 7, "StdoutTruncated": True},
            "CreateTime": 2_000_000_000,
            "Job": {"ID": "j-1"},
        }
    )
    assert execution.compute_state is ComputeState.COMPLETED
    assert execution.message == "Running"
    assert execution.published_result is not None
    assert execution.published_result.params == {"CID": "QmX"}
    assert execution.run_output is not None
    assert (execution.run_output.stdout, execution.run_output.stderr) == ("out", "err")
    assert (execution.run_output.exit_code, execution.run_output.stdout_truncated) == (7, True)
    assert execution.created_at == 2.0


@pytest.mark.parametrize("result", [{"Type": ""}, {"Type": "", "Params": {}}, {}, None])
def test_an_empty_result_is_none(result: object) -> None:
    assert Execution.model_validate({"PublishedResult": result}).published_result is None


@pytest.mark.parametrize(
    ("kind", "status", "usable"),
    [("Compute", "CONNECTED", True), ("Compute", "DISCONNECTED", False), ("Requester", "CONNECTED", False)],
)
def test_only_connected_compute_nodes_run_jobs(kind: str, status: str, usable: bool) -> None:
    node = ComputeNode.model_validate(
        {"Info": {"NodeID": "n-1", "NodeType": kind}, "ConnectionState": {"Status": status}}
    )
    assert node.is_connected_compute is usable


def test_a_node_knows_since_when_it_is_connected() -> None:
    def since(time: str) -> float | None:
        return ComputeNode.model_validate({"ConnectionState": {"ConnectedSince": time}}).connected_since

    assert since("2023-11-14T22:13:20.250000000Z") == 1_700_000_000.25
    assert since("0001-01-01T00:00:00Z") is None


def test_the_environment_of_a_job_is_not_kept() -> None:
    """It may hold values of Secrets."""
    job = Job.model_validate({"Tasks": [{"Name": "main", "Env": {"TOKEN": "s3cret"}}]})
    assert job.tasks == ({"Name": "main"},)
