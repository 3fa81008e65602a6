"""Settings come from the environment, with defaults that suit most sites, and refuse nonsense."""

import pytest
from pydantic import ValidationError

from controller.settings import Settings


def test_defaults() -> None:
    settings = Settings()
    assert settings.namespaces == ()
    assert settings.lease_enabled
    assert settings.lease_namespace is None


def test_no_two_processes_have_one_identity() -> None:
    assert Settings().identity != Settings().identity


@pytest.mark.parametrize(
    ("text", "namespaces"), [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b ,", ("a", "b"))]
)
def test_namespaces_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, namespaces: tuple[str, ...]
) -> None:
    monkeypatch.setenv("BACALHAU_DAG_NAMESPACES", text)
    assert Settings().namespaces == namespaces


def test_everything_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {
        "WORKERS": "4",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
        "HTTP_ADDRESS": "127.0.0.1",
        "HTTP_PORT": "9090",
        "LEASE_ENABLED": "false",
        "LEASE_NAME": "leader",
        "LEASE_NAMESPACE": "operators",
        "DELETION_GRACE_SECONDS": "30",
        "IDENTITY": "me",
    }
    for name, value in environment.items():
        monkeypatch.setenv(f"BACALHAU_DAG_{name}", value)
    assert Settings().model_dump() == {
        "namespaces": (),
        "workers": 4,
        "log_level": "DEBUG",
        "log_format": "json",
        "http_address": "127.0.0.1",
        "http_port": 9090,
        "lease_enabled": False,
        "lease_name": "leader",
        "lease_namespace": "operators",
        "deletion_grace_seconds": 30,
        "identity": "me",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "0"),
        ("HTTP_PORT", "70000"),
        ("LOG_LEVEL", "loud"),
        ("DELETION_GRACE_SECONDS", "-1"),
        ("IDENTITY", ""),
    ],
)
def test_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BACALHAU_DAG_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
