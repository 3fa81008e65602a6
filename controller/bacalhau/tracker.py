"""Following the jobs of one Bacalhau cluster, which cannot tell by itself when something happens.

One loop serves all DAGs of a connection. It takes the job that has been due for longest and looks at it in the way
that costs the server less: a GET with executions, or, where a namespace belongs to one run and several of its jobs
are due, a list of the namespace, newest changes first, down to what was known. How often is decided per job by its
age (``controller.bacalhau.pace``); what all jobs together need, measured against the budget, stretches or shortens all
intervals by the same factor, so that short jobs stay ahead of long ones.

What each subscriber is told:

- ``on_change`` for every change of the job that was seen. Executions come with it whenever the job has ended or is
  Queued, and are ``None`` where a list was enough. A waiting job (Pending or Queued) is also told of when its
  executions changed, which Bacalhau does not count as a change of the job, or when the orchestrator restarted; a running
  one when an execution ended and the job does not show it.
- ``on_lost`` once, when the job has been unknown to the server for a while.

After the end of a job, or its loss, nothing more is told. An outage is a matter of the connection: ``on_unreachable``
and ``on_recovered`` are called once each, a single look with a growing pause probes for the end of it, and every
job stays on the list.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from controller.api.bacalhau import Job, JobSighting, JobState
from controller.bacalhau import pace
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.epoch import OrchestratorEpoch
from controller.bacalhau.errors import BacalhauError, Refused, ServerError, Unavailable
from controller.bacalhau.schedule import Schedule

__all__ = ["Tracker"]

logger = logging.getLogger(__name__)

CONCURRENT_LOOKS = 16
PAGE_SIZE = 100
TICK_SECONDS = 0.001
"""What is due within this time is due now; event loops wake up a little early."""

OVERLAP_SECONDS = 0.5
"""Changes become visible in the order of commits, which is not quite the order of their times."""

GET_SHARE = 2
LIST_SHARE = 8
"""Pause at least so many times as long as a look took: large jobs, large runs and slow servers are asked less."""

WAITING = (JobState.UNDEFINED, JobState.PENDING, JobState.QUEUED)
COMPANY = 0.5
"""A list also serves the jobs that are due within this share of the first one's interval."""

RESYNC_SECONDS = 60.0
RESYNC_WAITING_SECONDS = 15.0
LONG_WAIT_SECONDS = 5.0

AFTER_OUTAGE_SECONDS = 15.0
"""Over which the looks at all jobs are spread once the server answers again."""

MISSING_SECONDS = 10.0
MISSING_LOOKS = 3
MISSING_PAUSE_SECONDS = 2.0
TROUBLE_PAUSE_SECONDS = 5.0

FIRST_OUTAGE_PAUSE_SECONDS = 0.5
LONGEST_OUTAGE_PAUSE_SECONDS = 30.0
MEASURE_SECONDS = 0.5
KEPT_NAMESPACES = 1024

OnChange = Callable[[JobSighting], None]
OnLost = Callable[[], None]


@dataclass(slots=True, eq=False, kw_only=True)
class _Watched:
    """A job that somebody waits for. Times are the event loop's."""

    namespace: str
    job_id: str
    exclusive: bool
    born: float
    on_change: OnChange
    on_lost: OnLost
    told: tuple[object, ...] | None = None
    """What the subscriber knows."""
    revision: tuple[int, int] | None = None
    """Version and revision that were seen last."""
    get_by: float
    """When a list is no longer enough."""
    missing_since: float | None = None
    missing_looks: int = 0


@dataclass(slots=True, kw_only=True)
class _Namespace:
    """What is known of a Bacalhau namespace."""

    name: str
    jobs: dict[str, _Watched] = field(default_factory=dict)
    size: float = 0
    """Jobs that it holds, finished ones included, as far as known. Infinite: too many to list."""
    newest: float | None = None
    """The latest modification (unix seconds) that a list has shown; None before the first list."""
    listing: bool = False
    experience: pace.Experience = field(default_factory=pace.Experience)


class Tracker:
    """Tells subscribers what becomes of their jobs.

    Args:
        requests_per_second: What looking may cost, in GETs a second.
        clock: Unix time in seconds, to which ``submitted_at`` belongs.
        on_unreachable: Called with the reason when the cluster stops answering.
        on_recovered: Called when it answers again.
    """

    def __init__(
        self,
        client: BacalhauClient,
        *,
        requests_per_second: float,
        clock: Callable[[], float] = time.time,
        on_unreachable: Callable[[BacalhauError], None] = lambda error: None,
        on_recovered: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._on_unreachable = on_unreachable
        self._on_recovered = on_recovered
        self._budget = pace.Budget(requests_per_second)
        self._slots = asyncio.Semaphore(CONCURRENT_LOOKS)
        self._schedule: Schedule[_Watched] = Schedule()
        self._jobs: dict[str, _Watched] = {}
        self._namespaces: dict[str, _Namespace] = {}
        self._woken = asyncio.Event()
        self._epoch = OrchestratorEpoch(client)
        self._failures = 0
        self._stretch = 1.0
        self._measured = float("-inf")

    def __len__(self) -> int:
        """How many jobs are followed."""
        return len(self._jobs)

    def track(
        self,
        namespace: str,
        job_id: str,
        *,
        submitted_at: float,
        on_change: OnChange,
        on_lost: OnLost,
        exclusive_namespace: bool,
    ) -> None:
        """Follow a job; a job that is followed already gets these subscribers instead, and a fresh first sighting.

        Args:
            submitted_at: Unix time in seconds; how old the job is decides how often it is looked at.
            exclusive_namespace: Whether all jobs of the namespace belong to one run, so that it pays to list it.
        """
        self.forget(job_id)
        now = _now()
        watched = _Watched(
            namespace=namespace,
            job_id=job_id,
            exclusive=exclusive_namespace,
            born=now - max(0.0, self._clock() - submitted_at),
            on_change=on_change,
            on_lost=on_lost,
            get_by=now + RESYNC_WAITING_SECONDS,
        )
        self._failures = min(self._failures, 1)  # somebody got through: do not let this job wait for long
        self._jobs[job_id] = watched
        place = self._namespace(namespace)
        place.jobs[job_id] = watched
        place.size += 1
        self._plan(watched, now + place.experience.first_look(spread=random.random()))

    def forget(self, job_id: str) -> None:
        """Follow the job no longer. Unknown jobs are fine."""
        watched = self._jobs.pop(job_id, None)
        if watched is not None:
            self._schedule.discard(watched)
            self._namespaces[watched.namespace].jobs.pop(job_id, None)

    def allow(self, *, requests_per_second: float) -> None:
        """Let looking cost more or less from now on."""
        self._budget.per_second = requests_per_second

    async def run(self) -> None:
        """Look at jobs until cancelled."""
        async with asyncio.TaskGroup() as looks:
            while True:
                await self._something_due()
                await self._budget.available()
                if self._failures:
                    await self._probe()
                else:
                    await self._slots.acquire()
                    looks.create_task(self._look_in_slot(self._next_look()))

    # Which look is next

    async def _something_due(self) -> None:
        while True:
            self._woken.clear()
            first = self._schedule.first()
            wait = None if first is None else first - _now()
            if wait is not None and wait <= TICK_SECONDS:
                return
            try:
                async with asyncio.timeout(wait):
                    await self._woken.wait()
            except TimeoutError:
                return

    def _next_look(self) -> Callable[[], Awaitable[None]] | None:
        """The most urgent look, decided with all jobs known that are due by now."""
        now = _now() + TICK_SECONDS
        self._measure(now)
        watched = self._schedule.pop(now)
        if watched is None:
            return None
        place = self._namespace(watched.namespace)
        if watched.exclusive and watched.get_by > now and self._list_pays(place, watched, now):
            return self._prepare_list(place, watched, now)
        self._budget.spend(1.0)
        return lambda: self._get(watched)

    def _list_pays(self, place: _Namespace, first: _Watched, now: float) -> bool:
        """Whether a list costs less than looking at each of the jobs that are due, or nearly."""
        if place.listing:
            return False
        soon = now + COMPANY * pace.interval(now - first.born)
        due = sum(self._schedule.is_due(watched, soon) for watched in place.jobs.values())
        return 1 + due > pace.list_cost(place.size)

    def _prepare_list(self, place: _Namespace, first: _Watched, now: float) -> Callable[[], Awaitable[None]]:
        """A list shows the changes of all jobs, so none but those that need more is looked at meanwhile."""
        served = [first, *(watched for watched in place.jobs.values() if watched.get_by > now)]
        for watched in served:
            self._schedule.discard(watched)
        place.listing = True
        self._budget.spend(pace.list_cost(place.size))
        return lambda: self._list(place, served)

    def _measure(self, now: float) -> None:
        """Find out, now and then, by how much all looking has to slow down to stay within the budget."""
        if now - self._measured < MEASURE_SECONDS:
            return
        self._measured = now
        needed = sum(self._demand(place, now) for place in self._namespaces.values() if place.jobs)
        self._stretch = pace.stretch(needed, budget=self._budget.per_second)

    def _demand(self, place: _Namespace, now: float) -> float:
        listable = all(watched.exclusive for watched in place.jobs.values())
        one_list = pace.list_cost(place.size) if listable else None
        return pace.demand((now - watched.born for watched in place.jobs.values()), one_list=one_list)

    def _namespace(self, name: str) -> _Namespace:
        if name not in self._namespaces:
            self._drop_idle_namespaces()
            self._namespaces[name] = _Namespace(name=name)
        return self._namespaces[name]

    def _drop_idle_namespaces(self) -> None:
        """Forget the sizes of namespaces in which nothing happens, when there are many."""
        if len(self._namespaces) >= KEPT_NAMESPACES:
            busy = {name: place for name, place in self._namespaces.items() if place.jobs or place.listing}
            self._namespaces = busy

    def _plan(self, watched: _Watched, due: float) -> None:
        self._schedule.set(watched, due)
        self._woken.set()

    # Looking

    async def _look_in_slot(self, look: Callable[[], Awaitable[None]] | None) -> None:
        try:
            await self._look(look)
        finally:
            self._slots.release()

    async def _look(self, look: Callable[[], Awaitable[None]] | None) -> None:
        """Look; whatever goes wrong, all jobs are looked at again."""
        try:
            if look is not None:
                await look()
        except Exception:
            logger.exception("Looking at jobs of %s failed in an unforeseen way.", self._client)
            later = _now() + TROUBLE_PAUSE_SECONDS
            for watched in self._jobs.values():
                if not self._schedule.is_due(watched, later):
                    self._plan(watched, later)

    async def _get(self, watched: _Watched) -> None:
        started = _now()
        try:
            job = await self._client.get(watched.job_id, namespace=watched.namespace, executions=True)
            self._answered()
        except BacalhauError as error:
            self._put_off([watched], error)
            return
        if self._jobs.get(watched.job_id) is not watched:
            return
        if job is None:
            self._missing(watched)
            return
        watched.missing_since, watched.missing_looks = None, 0
        watched.get_by = _now() + _resync_after(job)
        await self._tell(watched, job)
        self._look_again(watched, not_before=_now() + GET_SHARE * (_now() - started))

    async def _list(self, place: _Namespace, due: list[_Watched]) -> None:
        started = _now()
        try:
            await self._read_list(place)
            self._answered()
        except BacalhauError as error:
            if _is_about_the_request(error):
                place.size = float("inf")
            self._put_off(due, error)
            return
        finally:
            place.listing = False
        not_before = _now() + LIST_SHARE * (_now() - started)
        for watched in due:
            self._look_again(watched, not_before=not_before)

    async def _read_list(self, place: _Namespace) -> None:
        """Read the newest changes; the first time all jobs, to learn how many there are."""
        known = place.newest
        async for page in self._client.list_newest(place.name, page_size=0 if known is None else PAGE_SIZE):
            for job in page:
                await self._listed(place, job)
            place.newest = max(place.newest or 0.0, page[0].modified_at)
            if known is None:
                place.size = max(place.size, len(page))
            elif page[-1].modified_at < known - OVERLAP_SECONDS:
                return

    async def _listed(self, place: _Namespace, job: Job) -> None:
        watched = place.jobs.get(job.id)
        if watched is None or watched.revision == (job.version, job.revision):
            return
        if job.state.is_terminal or job.state is JobState.QUEUED:
            watched.get_by = _now()  # its executions are wanted too
            self._plan(watched, watched.get_by)
        else:
            await self._tell(watched, job)

    def _look_again(self, watched: _Watched, *, not_before: float) -> None:
        """Put the job back into the schedule, unless it is there no more."""
        if self._jobs.get(watched.job_id) is not watched:
            return
        now = _now()
        if watched.revision is None:  # the list went not back far enough to show it
            watched.get_by = now
        wait = pace.interval(now - watched.born, stretch=self._stretch, spread=random.random())
        self._plan(watched, min(max(now + wait, not_before), watched.get_by))

    async def _tell(self, watched: _Watched, job: Job) -> None:
        epoch = await self._epoch_for(watched, job)
        known = (job.version, job.revision, _executions_that_matter(job), epoch)
        if self._jobs.get(watched.job_id) is not watched:
            return
        watched.revision = (job.version, job.revision)
        if job.state.is_terminal:
            self._namespace(watched.namespace).experience.add(job.modified_at - job.created_at)
            self.forget(watched.job_id)
        if known != watched.told:
            watched.told = known
            _call(lambda: watched.on_change(JobSighting(job=job, orchestrator_epoch=epoch)))

    async def _epoch_for(self, watched: _Watched, job: Job) -> float | None:
        if job.state not in WAITING or _now() - watched.born < LONG_WAIT_SECONDS:
            return None
        return await self._epoch.get()

    def _missing(self, watched: _Watched) -> None:
        """The server does not know the job: believe it after some looks over some time."""
        now = _now()
        watched.missing_since = now if watched.missing_since is None else watched.missing_since
        watched.missing_looks += 1
        if now - watched.missing_since >= MISSING_SECONDS and watched.missing_looks >= MISSING_LOOKS:
            self.forget(watched.job_id)
            _call(watched.on_lost)
        else:
            watched.get_by = now + MISSING_PAUSE_SECONDS
            self._plan(watched, watched.get_by)

    # When looking fails

    def _put_off(self, jobs: list[_Watched], error: BacalhauError) -> None:
        """Look later: at these jobs if the trouble is theirs, at everything if it is the connection's."""
        if _is_about_the_request(error):
            self._answered()
            logger.warning("Cannot look at %d job(s) of %s: %s", len(jobs), self._client, error)
        else:
            self._fail(error)
        later = _now() + TROUBLE_PAUSE_SECONDS * (0 if self._failures else 1)
        for watched in jobs:
            if self._jobs.get(watched.job_id) is watched:
                self._plan(watched, later)

    def _fail(self, error: BacalhauError) -> None:
        if not self._failures:
            self._failures = 1
            _call(lambda: self._on_unreachable(error))

    def _answered(self) -> None:
        if self._failures:
            self._failures = 0
            self._look_at_executions()
            _call(self._on_recovered)

    def _look_at_executions(self) -> None:
        """See soon what became of the executions of each job: a server that was away may have been killed, and jobs be lost on it."""
        for watched in self._jobs.values():
            watched.get_by = min(watched.get_by, _now() + random.uniform(0, AFTER_OUTAGE_SECONDS))
            if not self._schedule.is_due(watched, watched.get_by):
                self._plan(watched, watched.get_by)

    async def _probe(self) -> None:
        """During an outage: pause, then one look alone."""
        pause = min(FIRST_OUTAGE_PAUSE_SECONDS * 2 ** min(self._failures, 10), LONGEST_OUTAGE_PAUSE_SECONDS)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        await self._look(self._next_look())
        if self._failures:
            self._failures += 1


def _now() -> float:
    return asyncio.get_running_loop().time()


def _resync_after(job: Job) -> float:
    seconds = RESYNC_WAITING_SECONDS if job.state in WAITING else RESYNC_SECONDS
    return seconds * random.uniform(0.75, 1.25)


def _executions_that_matter(job: Job) -> tuple[object, ...]:
    """Executions can change without a change of the job: it matters while the job waits, and when they end."""
    return tuple(
        (execution.id, execution.compute_state)
        for execution in job.executions or ()
        if job.state in WAITING or execution.compute_state.is_terminal
    )


def _is_about_the_request(error: BacalhauError) -> bool:
    """Whether the server is well and only this one request is not."""
    return isinstance(error, Refused) or (
        isinstance(error, ServerError) and not isinstance(error, Unavailable)
    )


def _call(subscriber: Callable[[], None]) -> None:
    """Call somebody else's code, which must not stop the tracker."""
    try:
        subscriber()
    except Exception:
        logger.exception("A subscriber of the job tracker failed.")
