"""kopf is set up to keep nothing in objects, and never to give up on the API server."""

from itertools import islice
from typing import Any

import kopf
import pytest

from controller.kube import kopf_settings
from controller.kube.finalizer import FINALIZER


@pytest.fixture
def settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    kopf_settings.configure(settings)
    return settings


def test_kopfs_finalizer_is_not_ours(settings: kopf.OperatorSettings) -> None:
    assert settings.persistence.finalizer != FINALIZER


def test_backoffs_never_end_and_start_over(settings: kopf.OperatorSettings) -> None:
    backoffs = settings.networking.error_backoffs
    assert not isinstance(backoffs, float)
    assert len(list(islice(iter(backoffs), 10_000))) == 10_000
    assert next(iter(backoffs)) <= 0.5


def test_what_was_last_handled_is_the_generation(settings: kopf.OperatorSettings) -> None:
    def essence(generation: int, phase: str) -> kopf.BodyEssence:
        raw: Any = {
            "metadata": {"name": "d", "generation": generation, "annotations": {"a": "b"}},
            "spec": {"nodes": ["large"]},
            "status": {"phase": phase},
        }
        body = kopf.Body(raw)
        return settings.persistence.diffbase_storage.build(body=body)

    assert essence(1, "Running") == essence(1, "Succeeded") == {"metadata": {"generation": 1}}
    assert essence(1, "Running") != essence(2, "Running")


def test_peering_scanning_and_posting_are_off(settings: kopf.OperatorSettings) -> None:
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert not settings.posting.enabled
