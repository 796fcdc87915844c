#!/usr/bin/env bash
# Makes what has to travel to a machine with a GPU and without a network, in benchmarks/gpu/packed, which git ignores.
#
#   benchmarks/gpu/pack.sh                 everything
#   benchmarks/gpu/pack.sh wheels          one of: cifar10, faces, wheels
#
# DATA     folder with cifar10_train.npz, cifar10_test.npz and make_celeba64_faces.py; ../shared/data
# PACKED   where to put it; benchmarks/gpu/packed
# PYTHON   the interpreter that packs; python3
# VERSION  of the other machine's Python; 3.12
set -euo pipefail
cd "$(dirname "$0")/../.."
data=${DATA:-../shared/data} packed=${PACKED:-benchmarks/gpu/packed} python=${PYTHON:-python3} version=${VERSION:-3.12}

cifar10() { "$python" -m benchmarks.gpu.data cifar10 "$data" "$packed"; }

faces() {
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  "$python" "$data/make_celeba64_faces.py" "$scratch"
  "$python" -m benchmarks.gpu.data faces "$scratch/celeba64_faces" "$packed"
}

# What a machine lacks that has torch, torchvision, pytorch-lightning, safetensors, rich, matplotlib, torchmetrics and
# pytest: what the commands import (wandb and tensorboard only when they are asked for), the tests, and the peers.
wheels() {
  rm -rf "$packed/wheels"
  "$python" -m pip wheel --quiet --no-deps --wheel-dir "$packed/wheels" \
    "hydra-core>=1.3.8" "omegaconf>=2.3,<2.4" "antlr4-python3-runtime==4.9.*" beartype UMNN==1.71 \
    normflows==1.7.3 antsnormflows==1.0.0 nflows==0.14 FrEIA==0.2
  "$python" -m pip download --quiet --no-deps --dest "$packed/wheels" --only-binary=:all: --python-version "$version" \
    --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "lmdb>=1.6"
}

for what in ${@:-cifar10 faces wheels}; do "$what"; done
du -ah --apparent-size "$packed"
