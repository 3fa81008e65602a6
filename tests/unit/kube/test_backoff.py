"""Delays grow, stay below their cap, vary within their jitter, and never end."""

from itertools import islice

import pytest

from controller.kube.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "delay"), [(0, 1), (1, 1), (2, 2), (3, 4), (7, 60), (100, 60), (100_000, 60)]
)
def test_delays_double_up_to_the_cap(failures: int, delay: float) -> None:
    assert Backoff(base=1, cap=60, jitter=0).delay(failures) == delay


def test_jitter_only_shortens() -> None:
    delays = {Backoff(base=8, cap=60, jitter=0.25).delay(1) for _ in range(200)}
    assert all(6 <= delay <= 8 for delay in delays)
    assert len(delays) > 1


def test_the_series_is_endless_and_starts_over() -> None:
    backoff = Backoff(base=1, cap=4, jitter=0)
    assert list(islice(backoff, 5)) == [1, 2, 4, 4, 4]
    assert list(islice(backoff, 2)) == [1, 2]
    assert next(islice(backoff, 5000, None)) == 4
