"""A CID keeps its meaning in every spelling, and every salt gives its own."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.bacalhau.cids import canonical, spell

EMPTY_DIRECTORY_V0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
EMPTY_DIRECTORY_V1 = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
BINARY = base64.b32decode(EMPTY_DIRECTORY_V1[1:].upper() + "=" * (-len(EMPTY_DIRECTORY_V1[1:]) % 8))


def number(binary: bytes, alphabet: str) -> str:
    """The bytes as a number in positional notation."""
    value, digits = int.from_bytes(binary, "big"), ""
    while value:
        value, digit = divmod(value, len(alphabet))
        digits = alphabet[digit] + digits
    return digits


SPELLINGS = {
    "base32": EMPTY_DIRECTORY_V1,
    "base32upper": EMPTY_DIRECTORY_V1.upper(),
    "base32pad": "c" + base64.b32encode(BINARY).decode().lower(),
    "base32hex": "v" + base64.b32hexencode(BINARY).decode().lower().rstrip("="),
    "base32hexpadupper": "T" + base64.b32hexencode(BINARY).decode(),
    "base16": "f" + BINARY.hex(),
    "base16upper": "F" + BINARY.hex().upper(),
    "base36": "k" + number(BINARY, "0123456789abcdefghijklmnopqrstuvwxyz"),
    "base58btc": "z" + number(BINARY, "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"),
    "base58flickr": "Z" + number(BINARY, "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"),
    "base64": "m" + base64.b64encode(BINARY).decode().rstrip("="),
    "base64url": "u" + base64.urlsafe_b64encode(BINARY).decode().rstrip("="),
    "base64urlpad": "U" + base64.urlsafe_b64encode(BINARY).decode(),
    "version 0": EMPTY_DIRECTORY_V0,
    "mixed case": EMPTY_DIRECTORY_V1[:20] + EMPTY_DIRECTORY_V1[20:].upper(),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_all_spellings_have_one_canonical_form(spelling: str) -> None:
    assert canonical(spelling) == EMPTY_DIRECTORY_V1


@given(st.text())
def test_a_spelling_keeps_the_meaning_and_is_repeatable(salt: str) -> None:
    spelling = spell(EMPTY_DIRECTORY_V0, salt)
    assert canonical(spelling) == EMPTY_DIRECTORY_V1
    assert spelling == spell(EMPTY_DIRECTORY_V1, salt)
    assert spelling.startswith("b")


def test_ten_thousand_consumers_have_ten_thousand_spellings() -> None:
    assert len({spell(EMPTY_DIRECTORY_V1, f"attempt-{i}/0") for i in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        "hello",
        "Qm" + "0" * 44,
        "Qm" + "1" * 44,
        EMPTY_DIRECTORY_V1 + "/x",
        "9123",
        "b!!!!",
        "bae",
        "zé",
        "f01",
    ],
)
def test_what_is_not_a_cid_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="not a content identifier") as caught:
        canonical(text)
    assert repr(text) in str(caught.value)
