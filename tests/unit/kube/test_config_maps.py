"""ConfigMaps are read whole, and what is missing is named."""

import pytest

from controller.kube.config_maps import ConfigMapMissing, read_config_map
from controller.kube.errors import Unavailable
from tests.support.fake_kube import FakeKube

PATH = "/api/v1/namespaces/default/configmaps/settings"


async def test_all_texts_are_read(kube: FakeKube) -> None:
    kube.put(PATH, {"data": {"mode": "full", "size": "2"}})
    found = await read_config_map(kube.client(), namespace="default", name="settings")
    assert found == {"mode": "full", "size": "2"}


async def test_one_without_texts_is_empty(kube: FakeKube) -> None:
    kube.put(PATH, {"binaryData": {"image": "/w=="}})
    assert await read_config_map(kube.client(), namespace="default", name="settings") == {}


async def test_one_that_is_missing_is_named(kube: FakeKube) -> None:
    with pytest.raises(ConfigMapMissing, match='There is no ConfigMap "settings" in namespace "default"'):
        await read_config_map(kube.client(), namespace="default", name="settings")


async def test_trouble_is_not_taken_for_a_missing_one(kube: FakeKube) -> None:
    kube.down = True
    with pytest.raises(Unavailable):
        await read_config_map(kube.client(), namespace="default", name="settings")
