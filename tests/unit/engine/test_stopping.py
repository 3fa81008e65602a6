"""A stop reason survives its way through Bacalhau."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.engine.stopping import StopCause, read_stop_reason, stop_reason


@given(st.sampled_from(StopCause), st.text())
def test_a_reason_is_read_as_it_was_given(cause: StopCause, message: str) -> None:
    assert read_stop_reason(stop_reason(cause, message)) == (cause, message)


@pytest.mark.parametrize(
    "text", ["", "Cancelled", "Cancelled by hand", "cancelled: by hand", "Other: text", ": text"]
)
def test_somebody_else_s_words_have_no_cause(text: str) -> None:
    assert read_stop_reason(text) == (None, text)
