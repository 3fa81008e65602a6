"""A world for operator processes."""

from tests.support.shell import world

__all__ = ["world"]
