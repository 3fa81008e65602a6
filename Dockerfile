# Plain syntax, so that docker, buildah and podman all build it.
#
# The operator's image, in two stages:
#
#   packages  installs the locked dependencies, each checked against its hash, into a virtual environment. Wheels only:
#             nothing is compiled, so no compiler is needed and the result depends on the lock alone.
#   (last)    takes that environment and the operator's source on a clean base; pip's caches stay behind.
#
# Both stages use one base, since a virtual environment points at its base's interpreter. Any image with Python 3.11 or newer and
# the venv module serves: --build-arg BASE_IMAGE=…
#
# The image runs as a numeric user, so that `runAsNonRoot` can check it, and writes nothing: `readOnlyRootFilesystem` is fine.
ARG BASE_IMAGE=python:3.12-slim

FROM ${BASE_IMAGE} AS packages
COPY requirements.lock /tmp/
RUN python3 -m venv /opt/operator \
 && /opt/operator/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /tmp/requirements.lock

FROM ${BASE_IMAGE}
COPY --from=packages /opt/operator /opt/operator
COPY controller /opt/operator/src/controller
# Bytecode cannot be written at run time; compiled here, it makes the start faster.
RUN /opt/operator/bin/python -m compileall -q /opt/operator/src
ENV PATH=/opt/operator/bin:$PATH PYTHONPATH=/opt/operator/src PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /opt/operator/src
ENTRYPOINT ["python", "-m", "controller"]
