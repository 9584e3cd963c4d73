# The service with the bundle it ships with, and what trains others. The targets:
#
#   cpu    (the default) serves by ONNX Runtime on a CPU, without torch
#   gpu    the same on NVIDIA GPUs: CUDA's libraries come from the package index, no CUDA base image is needed
#   torch  can also serve a bundle's TorchScript and torch.export graphs, on both
#   train  the commands train, evaluate and export
#   batch  datasets of tokens: the commands encode, decode, verify and tokens, on a CPU
#
# Build: docker build --target gpu --tag kohonen-tokenizer:gpu .
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
# The certificates of the base image, to which an operator may have added those of a proxy. No Python starts
# on a read-only file system faster than from bytecode that is there.
ENV UV_SYSTEM_CERTS=true UV_COMPILE_BYTECODE=true UV_NO_CACHE=true UV_PYTHON_DOWNLOADS=never
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN sed -n '/^uv==/,/[^\\]$/p' constraints.txt > /tmp/uv.txt \
 && pip install --quiet --no-cache-dir --require-hashes --requirement /tmp/uv.txt \
 && uv venv --quiet /opt/tokenizer
ENV VIRTUAL_ENV=/opt/tokenizer
# In layers of their own, which a change of the code leaves as they are. Traces are for every service to send.
RUN uv pip install --quiet --require-hashes --constraints constraints.txt --requirement pyproject.toml --extra otel

FROM build AS build-torch
RUN uv pip install --quiet --require-hashes --constraints constraints.txt --requirement pyproject.toml --extra torch

FROM build-torch AS build-train
RUN uv pip install --quiet --require-hashes --constraints constraints.txt --requirement pyproject.toml --extra export

FROM build AS build-gpu
RUN uv pip install --quiet --require-hashes --constraints constraints.txt --requirement pyproject.toml --extra gpu

FROM build AS build-cpu
# Half of the image, and of no use without the libraries of CUDA; only the wheel for x86_64 has them.
RUN rm -f /opt/tokenizer/lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime_providers_cuda.so \
          /opt/tokenizer/lib/python3.*/site-packages/onnxruntime/capi/libonnxruntime_providers_tensorrt.so

FROM build-cpu AS build-batch
RUN uv pip install --quiet --require-hashes --constraints constraints.txt --requirement pyproject.toml --extra batch

FROM build AS package
COPY kohonen_tokenizer kohonen_tokenizer
COPY service service
COPY batch batch
COPY training training
COPY export export
RUN uv build --quiet --wheel --require-hashes --build-constraints constraints.txt --out-dir /wheel \
 && uv pip install --quiet --no-deps --target /opt/package /wheel/*.whl

FROM ${BASE} AS runtime
ENV PATH=/opt/package/bin:/opt/tokenizer/bin:$PATH PYTHONPATH=/opt/package PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001:10001
# The one place that is written to, which may be a tmpfs.
WORKDIR /tmp
# The command itself is process 1: it gets the signal, drains, and exits with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["kohonen-tokenizer"]
ARG BASE
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="Kohonen tokenizer" \
      org.opencontainers.image.description="Images to grids of integer tokens whose order means something, and back" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS train
ENV TOKENIZER_IMAGE_TARGET=train
COPY --from=build-train /opt/tokenizer /opt/tokenizer
COPY --from=package /opt/package /opt/package
CMD ["train", "--help"]

FROM runtime AS batch
ENV TOKENIZER_IMAGE_TARGET=batch KOHONEN_BUNDLE=/bundle
# Python raises KeyboardInterrupt for it: the job stops at its next batch, and says so.
STOPSIGNAL SIGINT
COPY bundles/cifar10-ksom-512 /bundle
COPY --from=build-batch /opt/tokenizer /opt/tokenizer
COPY --from=package /opt/package /opt/package
CMD ["encode", "--help"]

FROM runtime AS serve
ENV KOHONEN_BUNDLE=/bundle KOHONEN_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "/opt/is_ready.py"]
CMD ["serve"]
COPY deploy/is_ready.py /opt/is_ready.py
COPY bundles/cifar10-ksom-512 /bundle

FROM serve AS torch
ENV TOKENIZER_IMAGE_TARGET=torch
COPY --from=build-torch /opt/tokenizer /opt/tokenizer
COPY --from=package /opt/package /opt/package

FROM serve AS gpu
ENV TOKENIZER_IMAGE_TARGET=gpu
COPY --from=build-gpu /opt/tokenizer /opt/tokenizer
COPY --from=package /opt/package /opt/package

FROM serve AS cpu
ENV TOKENIZER_IMAGE_TARGET=cpu
COPY --from=build-cpu /opt/tokenizer /opt/tokenizer
COPY --from=package /opt/package /opt/package
