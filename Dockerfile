# docker build -t glow_app .
# docker run glow_app
# mkdir -p runs ~/.cache/glow_app && docker run --gpus all --user "$(id -u)" \
#     -v "$PWD/runs:/home/glow/runs" -v "$HOME/.cache/glow_app:/cache/glow_app" glow_app trainer=gpu
#
# torch's own wheels bring the CUDA libraries; the host needs only the NVIDIA driver and container toolkit.
# For a build that can be repeated to the bit, pin the base: --build-arg BASE=python:3.12-slim@sha256:...
ARG BASE=python:3.12-slim
FROM ${BASE}

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/cache

# The dependencies change seldom: a layer of their own, from the metadata alone.
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
RUN mkdir -p glow_app conf && touch glow_app/__init__.py conf/train.yaml && pip install . && pip uninstall --yes glow_app

COPY conf conf
COPY glow_app glow_app
RUN pip install --no-deps .

# Writable for whoever --user makes of the process, so that what it leaves belongs to the person who started it.
RUN useradd --create-home glow && mkdir -p /home/glow/runs /cache/glow_app && chmod -R a+rwX /home/glow /cache
USER glow
ENV HOME=/home/glow
WORKDIR /home/glow
VOLUME ["/home/glow/runs", "/cache/glow_app"]
ENTRYPOINT ["glow-train"]
