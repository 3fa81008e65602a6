"""Keys of Secrets are read as text, and what is missing is named."""

import base64

import pytest

from controller.kube.errors import Unavailable
from controller.kube.secrets import SecretMissing, read_secret_key
from tests.support.fake_kube import FakeKube


@pytest.fixture
def kube() -> FakeKube:
    kube = FakeKube()
    data = {"token": base64.b64encode(b"s3cret").decode(), "image": base64.b64encode(b"\xff\xfe").decode()}
    kube.put("/api/v1/namespaces/default/secrets/login", {"apiVersion": "v1", "kind": "Secret", "data": data})
    return kube


async def read(kube: FakeKube, name: str, key: str) -> str:
    return await read_secret_key(kube.client(), namespace="default", name=name, key=key)


async def test_a_key_is_decoded(kube: FakeKube) -> None:
    assert await read(kube, "login", "token") == "s3cret"


@pytest.mark.parametrize(
    ("name", "key", "message"),
    [
        ("missing", "token", 'There is no Secret "missing" in namespace "default".'),
        ("login", "password", 'The Secret "login" in namespace "default" has no key "password".'),
        ("login", "image", 'The key "image" of the Secret "login" in namespace "default" is not text.'),
    ],
)
async def test_what_is_missing_is_named(kube: FakeKube, name: str, key: str, message: str) -> None:
    with pytest.raises(SecretMissing) as missing:
        await read(kube, name, key)
    assert str(missing.value).startswith(message)


async def test_trouble_is_not_taken_for_a_missing_secret(kube: FakeKube) -> None:
    kube.down = True
    with pytest.raises(Unavailable):
        await read(kube, "login", "token")
