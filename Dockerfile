# facerestore as one command:
#
#   docker build -t facerestore .
#   docker run --rm --network none --user "$(id -u)" -v "$PWD:/photos" facerestore enhance photo.jpg
#
# TORCH_INDEX is the address of an index that has torch for one kind of device: PyTorch's own for the CPU makes the image
# several GB smaller, one of a CUDA version suits its driver. Without it torch is the default index's, which on x86-64 runs
# on the CPU and on CUDA:
#
#   docker build --build-arg TORCH_INDEX=ADDRESS -t facerestore .
#   docker run --rm --gpus all --user "$(id -u)" -v "$PWD:/photos" facerestore enhance photo.jpg --device cuda
#
# EXTRAS are those of pyproject.toml: --build-arg EXTRAS=[extra-backends,onnx]. Downloaded weights lie in /weights; keep
# them in a volume: -v weights:/weights
FROM python:3.12-slim-bookworm

# opencv-python is linked with libGL and GLib, though no window is ever opened.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

ARG TORCH_INDEX=
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY weights weights
COPY facerestore facerestore
ARG EXTRAS=
RUN pip install --no-cache-dir ".$EXTRAS" && mkdir --mode=1777 /weights

ENV FACERESTORE_HOME=/weights
WORKDIR /photos
USER 1000
ENTRYPOINT ["facerestore"]
CMD ["--help"]
