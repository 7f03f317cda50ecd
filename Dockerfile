# run.py in an image, for CUDA or a CPU. Build arguments, mounts, what was tried: docs/container.md.
ARG BASE=python:3.11.13-slim-bookworm
FROM ${BASE}

# cpu takes the CPU build of torch from TORCH_INDEX, cuda the CUDA build of the default index, which brings its own libraries.
ARG TORCH=cuda
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
COPY requirements.lock requirements-cpu.lock requirements-cuda.lock ./
RUN pip install --no-deps --require-hashes -r requirements.lock
RUN pip install --no-deps --require-hashes ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r "requirements-$TORCH.lock" \
 && pip check

# Everybody may write into the cache and the working folder, so that `docker run --user` works with any user.
ENV XDG_CACHE_HOME=/cache PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --uid 10001 --create-home app && install --directory --mode=1777 /cache /data
COPY LICENSE run.py ./
COPY retrieval retrieval
COPY finetune finetune
RUN python -m compileall -q /app
USER 10001

# Models to bake in, of those that the program knows; without any the first run fetches them into /cache, where a volume keeps them.
# load_base converts a GGUF file, which fetching alone does not.
ARG MODELS=""
RUN test -z "$MODELS" || { python -m retrieval.model_files $MODELS && python -c "import sys; \
from finetune.base_model import load_base; from retrieval.known_models import known_names; \
[load_base(name) for name in sys.argv[1:] if name in known_names('base')]" $MODELS && chmod --recursive a+rwX /cache/*; }

WORKDIR /data
# Python as the first process ignores SIGTERM; on SIGINT the run ends cleanly.
STOPSIGNAL SIGINT
ENTRYPOINT ["python", "/app/run.py"]
CMD ["--help"]
