"""kopf handlers: one for each kind, each of which only passes the object on."""

from collections.abc import Callable
from typing import Any

import kopf

from controller.kube.objects import Body, Resource

Observe = Callable[..., None]
"""Called as ``observe(body, deleted=…)`` for every copy of an object that the watch brings."""


def register(registry: kopf.OperatorRegistry, resource: Resource, observe: Observe) -> None:
    """Have every event of a kind passed on to ``observe``."""

    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        body: Body = event["object"]
        observe(body, deleted=event["type"] == "DELETED")
