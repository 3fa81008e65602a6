"""Logging: lines for people, or JSON for collectors."""

import logging

from pythonjsonlogger.json import JsonFormatter

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"

QUIET = ("httpx", "httpcore", "kopf.activities", "kubernetes.aio")
"""Loggers that tell of every request at INFO."""


def configure(*, level: str, form: str) -> None:
    """Send all logs to standard error, as ``text`` or as ``json``."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(TEXT) if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
