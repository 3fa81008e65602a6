"""Events: the story of a DAG for whoever looks with ``kubectl describe``.

``kopf.event()`` would do inside kopf's handlers only: its queue is a context variable that is set where the operator
starts, and a worker's task, which has to exist before that, does not see it. So Events are posted with the
operator's own client, by one task, in the order in which they happened.

They are of core/v1, not events.k8s.io/v1: ``kubectl describe`` sorts by ``lastTimestamp``, which the newer ones leave
empty. As in client-go, the same message again counts up the Event that is there; of messages that differ but have
one reason, such as one for each node, the first few get Events of their own, and the rest share one. An Event that
counts up is written every few seconds at most. So an object can only cause so many writes, however much happens,
and no flood of one reason hides another reason.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Literal, NamedTuple, TypeVar

from kubernetes.aio.client import (
    ApiClient,
    CoreV1Api,
    CoreV1Event,
    V1EventSource,
    V1ObjectMeta,
    V1ObjectReference,
)

from controller import metrics
from controller.kube.backoff import Backoff
from controller.kube.errors import Forbidden, Gone, KubeError, Unavailable, translated
from controller.kube.objects import MERGE_PATCH, REQUEST_TIMEOUT, ObjectRef

_log = logging.getLogger(__name__)

COMPONENT = "bacalhau-dag-operator"

WINDOW = 600.0
"""Seconds after which what happens again is news again."""
ONE_BY_ONE = 10
"""How many different messages of one reason get Events of their own within the window."""
RECOUNT_AFTER = 10.0
"""Seconds between two writes of one Event's count."""
CAPACITY = 1000
"""Events that wait to be posted, at most."""
REMEMBERED = 4096
"""Events and topics that are remembered, to be counted up."""
LOG_EVERY = 100
"""Dropped Events are logged one in so many, or the log would be flooded in the place of the API server."""

ATTEMPTS = 8
RETRIES = Backoff(base=0.5, cap=10)

_MAX_MESSAGE = 1024
_MAX_NAME = 200
_COMBINED = "(combined from similar events): "

EventType = Literal["Normal", "Warning"]


class _Topic(NamedTuple):
    """What Events are about; within it they are similar."""

    about: ObjectRef
    type: EventType
    reason: str


@dataclass(slots=True)
class _Event:
    """One Event, as it is or will be on the API server."""

    topic: _Topic
    message: str
    first: datetime
    last: datetime
    seen: float
    count: int = 1
    name: str = ""
    rewrite_after: float = 0.0
    queued: bool = False


@dataclass(slots=True)
class _Topical:
    """How much has been said on a topic since when."""

    since: float
    messages: int = 0


Kept = TypeVar("Kept")


@dataclass(slots=True)
class _Memory(Generic[Kept]):
    """The most recently used of a bounded number of things."""

    items: OrderedDict[Hashable, Kept] = field(default_factory=OrderedDict)

    def get(self, key: Hashable) -> Kept | None:
        if key in self.items:
            self.items.move_to_end(key)
        return self.items.get(key)

    def put(self, key: Hashable, item: Kept) -> Kept:
        self.items[key] = item
        self.items.move_to_end(key)
        if len(self.items) > REMEMBERED:
            self.items.popitem(last=False)
        return item


class EventRecorder:
    """Takes Events from anywhere on the event loop, and posts them while ``run`` runs.

    ``instance`` names this process in the Events.
    """

    def __init__(self, client: ApiClient, *, instance: str, component: str = COMPONENT) -> None:
        self._api = CoreV1Api(client)
        self._instance = instance
        self._component = component
        self._queue: asyncio.Queue[_Event] = asyncio.Queue()
        self._events: _Memory[_Event] = _Memory()
        self._topics: _Memory[_Topical] = _Memory()
        self._dropped = 0
        self._last_nanoseconds = 0

    def emit(self, about: ObjectRef, *, type: EventType, reason: str, message: str) -> None:  # noqa: A002
        """Have an Event posted. Never waits, never raises.

        ``reason`` is a word in CamelCase, ``message`` a sentence; what is longer than 1024 characters is cut.
        """
        topic = _Topic(about, type, reason)
        event = self._find(topic, _cut(message, _MAX_MESSAGE))
        if not event.queued:
            event.queued = True
            delay = event.rewrite_after - _now()
            if delay > 0:
                asyncio.get_running_loop().call_later(delay, self._enqueue, event)
            else:
                self._enqueue(event)

    async def run(self) -> None:
        """Post Events, for ever."""
        while True:
            event = await self._queue.get()
            event.queued = False  # what happens from here on needs another write
            event.rewrite_after = _now() + RECOUNT_AFTER
            try:
                await self._post(event)
            finally:
                self._queue.task_done()

    async def flush(self) -> None:
        """Wait until what is queued has been posted or dropped; ``run`` must be running."""
        await self._queue.join()

    def _find(self, topic: _Topic, message: str) -> _Event:
        """The Event to count this message in: that of the same message, that of all similar ones, or a new one."""
        event = self._recent((topic, message))
        if event is None:
            combine = self._is_talked_out(topic)
            key = (topic, None) if combine else (topic, message)
            text = _cut(_COMBINED + message, _MAX_MESSAGE) if combine else message
            event = self._recent(key)
            if event is None:
                now = _timestamp()
                event = _Event(topic, text, first=now, last=now, seen=_now())
                return self._events.put(key, event)
            event.message = text
        event.count += 1
        event.last = _timestamp()
        event.seen = _now()
        return event

    def _recent(self, key: Hashable) -> _Event | None:
        event = self._events.get(key)
        return event if event and _now() - event.seen < WINDOW else None

    def _is_talked_out(self, topic: _Topic) -> bool:
        """Whether enough different messages of this topic have had Events of their own lately."""
        topical = self._topics.get(topic)
        if topical is None or _now() - topical.since >= WINDOW:
            topical = self._topics.put(topic, _Topical(since=_now()))
        topical.messages += 1
        return topical.messages > ONE_BY_ONE

    def _enqueue(self, event: _Event) -> None:
        if self._queue.qsize() < CAPACITY:
            self._queue.put_nowait(event)
        else:
            event.queued = False
            self._drop(event, "too many Events are waiting")

    async def _post(self, event: _Event) -> None:
        try:
            await self._write_with_retries(event)
        except KubeError as error:
            self._drop(event, str(error))
        except Exception as error:
            _log.exception("Posting an Event failed in an unforeseen way.")
            self._drop(event, repr(error))
        else:
            metrics.EVENTS.labels("posted").inc()

    async def _write_with_retries(self, event: _Event) -> None:
        for attempt in range(1, ATTEMPTS):
            try:
                return await self._write(event)
            except Forbidden:
                raise  # a namespace that is ending must not hold up the Events of others
            except Unavailable as error:
                await asyncio.sleep(max(RETRIES.delay(attempt), error.retry_after))
        return await self._write(event)

    async def _write(self, event: _Event) -> None:
        """Create the Event, or write its new count; the API server forgets Events after an hour or so."""
        if event.name:
            with suppress(Gone):
                return await self._recount(event)
        name = event.name = self._new_name(event.topic.about.name)
        await self._create(event, name)
        return None

    async def _create(self, event: _Event, name: str) -> None:
        about = event.topic.about
        with translated():
            await self._api.create_namespaced_event(
                about.namespace,
                CoreV1Event(
                    metadata=V1ObjectMeta(name=name, namespace=about.namespace),
                    involved_object=V1ObjectReference(
                        api_version=about.resource.api_version,
                        kind=about.resource.kind,
                        namespace=about.namespace,
                        name=about.name,
                        uid=about.uid,
                    ),
                    type=event.topic.type,
                    reason=event.topic.reason,
                    message=event.message,
                    source=V1EventSource(component=self._component),
                    reporting_component=self._component,
                    reporting_instance=self._instance,
                    first_timestamp=event.first,
                    last_timestamp=event.last,
                    count=event.count,
                ),
                _request_timeout=REQUEST_TIMEOUT,
            )

    async def _recount(self, event: _Event) -> None:
        patch = {"count": event.count, "message": event.message, "lastTimestamp": event.last.isoformat()}
        with translated():
            await self._api.patch_namespaced_event(
                event.name,
                event.topic.about.namespace,
                patch,
                _content_type=MERGE_PATCH,
                _request_timeout=REQUEST_TIMEOUT,
            )

    def _new_name(self, about: str) -> str:
        """A name that is not taken, and sorts by time."""
        self._last_nanoseconds = max(self._last_nanoseconds + 1, time.time_ns())
        return f"{about[:_MAX_NAME]}.{self._last_nanoseconds:x}"

    def _drop(self, event: _Event, why: str) -> None:
        self._dropped += 1
        metrics.EVENTS.labels("dropped").inc()
        if self._dropped % LOG_EVERY == 1:
            _log.warning(
                "Event %s of %s is dropped (%d so far): %s",
                event.topic.reason,
                event.topic.about,
                self._dropped,
                why,
            )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _timestamp() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _now() -> float:
    return asyncio.get_running_loop().time()
