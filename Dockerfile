# The service and the bundle it ships with. Build: docker build -t kohonen-tokenizer .
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
# The certificates of the base image, to which an operator may have added those of a proxy.
ENV UV_SYSTEM_CERTS=true
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN sed -n '/^uv==/,/[^\\]$/p' constraints.txt > /tmp/uv.txt \
 && pip install --quiet --no-cache-dir --require-hashes --requirement /tmp/uv.txt
COPY kohonen_tokenizer kohonen_tokenizer
COPY service service
COPY batch batch
COPY training training
COPY export export
RUN uv venv --quiet /opt/tokenizer \
 && uv pip install --quiet --no-cache --python /opt/tokenizer \
      --constraints constraints.txt --build-constraints constraints.txt .

FROM ${BASE}
COPY --from=build /opt/tokenizer /opt/tokenizer
COPY bundles/cifar10-ksom-512 /bundle
ENV PATH=/opt/tokenizer/bin:$PATH PYTHONUNBUFFERED=1 KOHONEN_BUNDLE=/bundle KOHONEN_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["kohonen-tokenizer"]
CMD ["serve"]
