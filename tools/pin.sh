#!/usr/bin/env bash
# Compiles requirements/*.txt from pyproject.toml: exact versions, no addresses. The CUDA libraries that a
# CUDA build of torch brings along are left to that build's own pins, so that a CPU build fits the same file.
set -euo pipefail
cd "$(dirname "$0")/.."
links=()
[ -d ../shared/wheels ] && links=(--find-links ../shared/wheels)
compile() {
  local out=$1; shift
  echo "torch==2.13.0" | .venv/bin/uv pip compile -q pyproject.toml "$@" -c /dev/stdin "${links[@]}" --python-version 3.11 \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
    | grep -vE '^(nvidia-|cuda-|triton)' | sed -E 's/\+cpu$//' >"requirements/$out.txt"
}
compile dev --extra dev
compile runtime --extra runtime --extra s3 --extra examples
compile operator --extra operator
compile bench --extra dev --extra bench
