# The server on an NVIDIA GPU, on NVIDIA's image of TensorRT. From the repository's root:
#
#   docker build -f docker/tensorrt.Dockerfile -t navit-edge:tensorrt .
#
# An engine of TensorRT runs on the kind of GPU and the version of TensorRT that built it, so build it with this image:
#
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/model.navit:/models/model.navit" \
#     --entrypoint navit-edge navit-edge:tensorrt build-engine /models/model.navit --backend tensorrt
#   docker run --rm --gpus all -p 127.0.0.1:8000:8000 -v "$PWD/model.navit:/models/model.navit:ro" navit-edge:tensorrt /models/model.navit
#
# docs/serving.md says more, and what of this has been tried.
ARG TENSORRT=25.08

FROM nvcr.io/nvidia/tensorrt:${TENSORRT}-py3 AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY . .
# The image has TensorRT's headers, its libraries, its Python package and a compiler.
RUN python3 -m venv --system-site-packages /opt/navit-edge \
  && /opt/navit-edge/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels \
    -C cmake.define.NAVIT_EDGE_TENSORRT=ON . \
  && wheel="$(echo /wheels/navit_edge-*.whl)" \
  && /opt/navit-edge/bin/pip install --no-cache-dir --constraint constraints.txt "${wheel}[serve]" onnx

FROM nvcr.io/nvidia/tensorrt:${TENSORRT}-py3
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin navit
COPY --from=build /opt/navit-edge /opt/navit-edge
ENV PATH=/opt/navit-edge/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000 8001
# SIGTERM, docker's own, drains: `docker stop --time` has to be longer than the longest request.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
ENTRYPOINT ["navit-edge", "serve", "--http", "0.0.0.0:8000", "--grpc", "0.0.0.0:8001"]
CMD ["--help"]
