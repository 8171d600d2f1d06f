# The image of the webhook: what it needs at run time and no more; runs without root on a read-only root file system.
# Health is the probes' business: /livez and /readyz on port 8080.
#
# BASE may be any image with a supported Python; by its digest, the same commit makes the same image again. The last
# stage runs nothing: BASE needs neither shell nor pip if BUILD_BASE has them, and the same Python in the same place.
ARG BASE=python:3.13.18-slim-trixie
ARG BUILD_BASE=${BASE}

FROM ${BUILD_BASE} AS build
WORKDIR /source
COPY requirements/image.txt requirements/runtime.txt requirements/
COPY pyproject.toml README.md LICENSE ./
COPY tools/image.sh tools/
COPY webhook webhook
# The time of each file, in seconds: a release gives that of its commit.
ARG SOURCE_DATE_EPOCH=0
RUN tools/image.sh /opt/webhook

FROM ${BASE}
ARG VERSION=dev REVISION="" CREATED="" SOURCE=""
LABEL org.opencontainers.image.title="task-resource-webhook" \
      org.opencontainers.image.description="A mutating admission webhook that makes every task pod obey its project's maxima" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
COPY --from=build /opt/webhook /opt/webhook
ENV PATH=/opt/webhook/bin:$PATH PYTHONPYCACHEPREFIX=/opt/webhook/pycache PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["task-resources"]
CMD ["serve"]
