# The image of the webhook: no compiler, no pip, no root; runs on a read-only root file system.
# Health is the probes' business: /livez and /readyz on port 8080.
ARG BASE=python:3.13.9-slim-trixie

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY requirements/build.txt requirements/runtime.txt requirements/
RUN python -m venv --without-pip /opt/webhook \
 && pip --python /opt/webhook/bin/python install --require-hashes --only-binary :all: -r requirements/runtime.txt \
 && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY webhook webhook
# Compiled once here, as nothing can be written at run time; unchecked, as no source changes after this.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
 && pip --python /opt/webhook/bin/python install --no-deps --no-index /dist/*.whl \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/webhook/lib

FROM ${BASE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="task-resource-webhook" \
      org.opencontainers.image.description="A mutating admission webhook that makes every task pod obey its project's maxima" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/webhook /opt/webhook
ENV PATH=/opt/webhook/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["task-resources"]
CMD ["serve"]
