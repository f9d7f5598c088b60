#!/usr/bin/env bash
# The tests on every Python, and with the oldest versions of all packages that pyproject.toml allows.
#
#   tools/matrix.sh [--lowest] [VERSION ...]        for example: tools/matrix.sh 3.12 3.13
#
# Without versions: 3.11 to 3.14, and 3.11 once more with the oldest packages; --lowest: only that. A version that is not
# installed is named and left out; REQUIRE=1 makes that a failure. The oldest packages need uv. TESTS sets what pytest is
# given (default: -n auto, all quick tests), EXTRA the extra to install (test). A line per combination; exit code 1: one failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
lowest=1 versions=(3.11 3.12 3.13 3.14)
if [ "${1:-}" = --lowest ]; then shift; versions=(); elif [ $# -gt 0 ]; then lowest=0; versions=("$@"); fi
failed=0

interpreter() { # the path of a working Python of a version; nothing when there is none
  if command -v uv >/dev/null && uv python find --no-python-downloads "$1" 2>/dev/null; then return; fi
  for name in "python$1" ${PYENV_ROOT:-$HOME/.pyenv}/versions/"$1".*/bin/python; do
    "$name" -c "import sys; assert '%d.%d' % sys.version_info[:2] == '$1'; print(sys.executable)" 2>/dev/null && return
  done
}

run() { # name, interpreter, further options of the installation
  local name="$1" python="$2" place="$work/$1"; shift 2
  "$python" -m venv "$place" || { echo "$name: no environment could be made"; failed=1; return; }
  local install=("$place/bin/python" -m pip install -q)
  if [ $# -gt 0 ]; then install=(uv pip install -q --python "$place/bin/python" "$@"); fi
  if ! "${install[@]}" ".[${EXTRA:-test}]" >"$place/install.log" 2>&1; then
    echo "$name: installation failed: $(tail -n 3 "$place/install.log" | tr '\n' ' ')"; failed=1; return
  fi
  local versions
  versions="$("$place/bin/python" -c 'import numpy, numba, onnx, scipy; print(*(f"{m.__name__} {m.__version__}" for m in (numpy, numba, onnx, scipy)), sep=", ")')"
  if NUMBA_CACHE_DIR="$place/cache" "$place/bin/python" -m pytest -q -p no:cacheprovider ${TESTS:--n auto} >"$place/tests.log" 2>&1; then
    echo "$name: $(tail -n 1 "$place/tests.log") ($versions)"
  else
    grep -E "^(FAILED|ERROR)|Error" "$place/tests.log" | head -n 20
    echo "$name: FAILED, $(tail -n 1 "$place/tests.log") ($versions)"; failed=1
  fi
}

for version in "${versions[@]}"; do
  python="$(interpreter "$version" | head -n 1)"
  if [ -z "$python" ]; then
    echo "$version: not installed here"; [ -z "${REQUIRE:-}" ] || failed=1
  else
    run "$version" "$python"
  fi
done
if [ "$lowest" = 1 ]; then
  python="$(interpreter 3.11 | head -n 1)"
  if ! command -v uv >/dev/null || [ -z "$python" ]; then
    echo "3.11 with the oldest packages: needs uv and Python 3.11"; [ -z "${REQUIRE:-}" ] || failed=1
  else
    run 3.11-lowest "$python" --resolution lowest-direct
  fi
fi
exit $failed
