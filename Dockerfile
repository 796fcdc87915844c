# docker build -t glow_app .
# docker run --init glow_app                                   trains the default model, as glow-train does
# docker run --init glow_app trainer=cpu max_steps=5           options alone are glow-train's
# docker run --init glow_app glow-sample --help                any other command by its name
#
# On a GPU, with the data, what comes out and the cache of pixels in folders of yours:
#
# mkdir -p runs ~/.cache/glow_app
# docker run --init --gpus all --ipc host --user "$(id -u)" -v /data/celeba:/data:ro -v "$PWD/runs:/home/glow/runs" \
#     -v "$HOME/.cache/glow_app:/cache/glow_app" glow_app glow-train experiment=celeba64 data.root=/data
#
# torch's own wheels bring the CUDA libraries: the host needs the NVIDIA driver and container toolkit, nothing else.
# There is a compiler inside, for kernels on a GPU and trainer.compile, and no ffmpeg: animations are GIFs, not MP4s.
# --build-arg BASE=python:3.12-slim-bookworm@sha256:... pins the base to the bit, --build-arg EXTRAS="demo onnx" adds
# what pyproject.toml calls so. The page of glow-demo stays on the loopback interface: --network host shows it.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/cache \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# Triton builds what launches its kernels when they are first needed.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*

# Gigabytes that change seldom: a layer of their own, which only pyproject.toml decides.
WORKDIR /app
COPY pyproject.toml ./
ARG EXTRAS=""
RUN python -c "import os, tomllib; \
project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
extras = [project['optional-dependencies'][name] for name in os.environ.get('EXTRAS', '').split()]; \
print(*project['dependencies'], *sum(extras, []), sep='\n')" > requirements.txt \
    && pip install -r requirements.txt

COPY README.md LICENSE ./
COPY conf conf
COPY checkpoints checkpoints
COPY glow_app glow_app
RUN pip install --no-deps .

# Writable for whoever --user makes of the process, so that what it leaves belongs to the person who started it.
RUN useradd --create-home glow && mkdir -p /home/glow/runs /home/glow/outputs /cache/glow_app /data
RUN chmod -R a+rwX /home/glow /cache
COPY --chmod=755 scripts/entrypoint /usr/local/bin/entrypoint

USER glow
ENV HOME=/home/glow
WORKDIR /home/glow
VOLUME ["/data", "/home/glow/runs", "/home/glow/outputs", "/cache/glow_app"]
ENTRYPOINT ["entrypoint"]
CMD ["glow-train"]
