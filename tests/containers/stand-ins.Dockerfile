# Debian's nginx and Prometheus, for where no image registry can be reached to get theirs.
ARG BASE=python:3.11-slim
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends nginx-light prometheus \
 && rm -rf /var/lib/apt/lists/*
ENTRYPOINT []
