#!/usr/bin/env bash
# Makes .venv hold one of the sets of requirements/ and this package (editable). Does nothing when it does already.
#   tools/setup.sh runtime|dev|bench
set -euo pipefail
cd "$(dirname "$0")/.."
want=${1:?usage: tools/setup.sh runtime|dev|bench}
python=${PYTHON:-python3}
venv=.venv
wheels=../shared/wheels # optional: wheels to prefer, for instance a CPU build of torch

fingerprint() { # of everything that decides what is in .venv for the set $1
  cat "requirements/$1.txt" pyproject.toml tools/setup.sh | sha256sum | cut -d' ' -f1
}

satisfied() { # is the set $1 in .venv, itself or as a part of a larger one?
  local set
  for set in "$1" dev bench; do
    [ "$set" = dev ] && [ "$1" = bench ] && continue
    [ "$(cat "$venv/.installed-$set" 2>/dev/null)" = "$(fingerprint "$set")" ] && return 0
  done
  return 1
}

make_venv() {
  command -v "$python" >/dev/null || { echo "setup: no '$python' found; install Python 3.11 or newer, or set PYTHON" >&2; exit 1; }
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: $("$python" --version) is too old; Thunderhead needs 3.11 or newer: set PYTHON to one" >&2
    exit 1
  }
  # Debian ships python3 without ensurepip; say what is missing instead of half a venv.
  "$python" -c 'import ensurepip' 2>/dev/null || {
    echo "setup: $python has no 'ensurepip'; on Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
  }
  "$python" -m venv "$venv"
}

install() {
  local options=()
  [ -d "$wheels" ] && options+=(--find-links "$wheels")
  [ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
  "$venv/bin/uv" pip install --python "$venv/bin/python" "${options[@]}" -r "requirements/$want.txt"
  "$venv/bin/uv" pip install --python "$venv/bin/python" --quiet --no-deps --editable .
}

satisfied "$want" && exit 0
echo "setup: installing requirements/$want.txt into $venv (once; minutes, as PyTorch is large)"
[ -x "$venv/bin/python" ] || make_venv
install
fingerprint "$want" >"$venv/.installed-$want"
