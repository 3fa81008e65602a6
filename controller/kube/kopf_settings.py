"""kopf as the edge only: it discovers, lists, watches and reconnects, and keeps nothing in the objects.

Every setting here has a reason that a default does not know:

- *standalone*: peering is no leader election; the operator has a Lease.
- *persistence*: kopf remembers the spec it last handled in an annotation, and builds and copies that for every
  event even if there is nothing to compare it with. The generation says the same in one number. That takes a
  third of the CPU that an event costs, and the 256 KiB limit of annotations out of the way of large DAGs.
- *backoffs without end*: once a finite series is spent, a lasting failure to list or watch ends the operator.
- *timeouts of the watch*: load balancers drop idle connections without a word.
- *posting disabled*: Events come from ``controller.kube.events``, which works outside kopf's handlers, too.
"""

import logging
from typing import Any, cast

import kopf
from typing_extensions import override

from controller.kube.backoff import Backoff
from controller.kube.finalizer import KOPF_FINALIZER

PREFIX = "kopf.bacalhau.org"


class GenerationOnly(kopf.AnnotationsDiffBaseStorage):
    """Takes the generation for all that matters of an object: it changes with every change of the spec."""

    @override
    def build(self, *, body: kopf.Body, **_: Any) -> kopf.BodyEssence:
        return cast(kopf.BodyEssence, {"metadata": {"generation": body.metadata.get("generation")}})


def configure(settings: kopf.OperatorSettings) -> None:
    """Set kopf up for this operator."""
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = KOPF_FINALIZER
    settings.persistence.diffbase_storage = GenerationOnly(prefix=PREFIX, v1=False)
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX, v1=False)
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 10
    settings.networking.error_backoffs = Backoff(base=0.5, cap=30)
    settings.networking.trust_env = True
    settings.queueing.error_delays = Backoff(base=1, cap=60)
    settings.watching.server_timeout = 600
    settings.watching.client_timeout = 660
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 200
    settings.process.ultimate_exiting_timeout = 60
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
