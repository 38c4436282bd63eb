#!/bin/sh
# What the Dockerfile runs: samclr into SOURCE/env, which sees the packages that the image brings, torch among them.
#   TORCH="..." EXTRAS=onnx sh docker/setup.sh SOURCE
# TORCH: words for pip that install a torch of your choice first; empty for the package registry's.
set -eu
source=$1
python3 -m venv --system-site-packages "$source/env"
pip="$source/env/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check"
if [ -n "${TORCH:-}" ]; then
    # shellcheck disable=SC2086 # several words are meant
    $pip $TORCH
fi
$pip "$source[${EXTRAS:-onnx}]"
"$source/env/bin/samclr" --version
