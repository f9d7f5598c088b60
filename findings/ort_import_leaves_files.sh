#!/usr/bin/env bash
# Importing ONNX Runtime on Linux writes an identifier and a database into the user's cache and the temporary folder.
#
# Versions: onnxruntime 1.32.0, numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: an import reads, and disable_telemetry_events() is there for whoever wants no telemetry.
# Seen: "import onnxruntime" alone, without a session, leaves a file .ses in TMPDIR and a device's
# identifier and a database of events under Microsoft/DeveloperTools in the user's cache folder. Calling
# disable_telemetry_events() comes too late: the files are there. ORT_DISABLE_TELEMETRY=1, set before
# the import, leaves none. (1.26 and 1.27 leave none either; 1.29 to 1.32 do.)
#
# Output:
#   import: cache/Microsoft/DeveloperTools/.onnxruntime/deviceid cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db tmp/.ses
#   import, then disable_telemetry_events(): the same files
#   ORT_DISABLE_TELEMETRY=1: no files
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnxruntime==1.32.0 numpy==2.4.6
cd "$work"
left_by() { # a folder's name, a program, variables
  local place="$work/$1" program="$2"; shift 2
  mkdir -p "$place/tmp" "$place/cache"
  env HOME="$place" XDG_CACHE_HOME="$place/cache" TMPDIR="$place/tmp" "$@" "$work/venv/bin/python" -c "$program"
  (cd "$place" && find . -type f -printf '%P\n' | LC_ALL=C sort | tr '\n' ' ')
}
plain="$(left_by plain 'import onnxruntime' ORT=)"
called="$(left_by called 'import onnxruntime; onnxruntime.disable_telemetry_events()' ORT=)"
without="$(left_by without 'import onnxruntime' ORT_DISABLE_TELEMETRY=1)"
echo "import: $plain"
[ "$called" = "$plain" ] && echo "import, then disable_telemetry_events(): the same files"
[ -z "$without" ] && echo "ORT_DISABLE_TELEMETRY=1: no files"
[ "$plain" = "cache/Microsoft/DeveloperTools/.onnxruntime/deviceid cache/Microsoft/DeveloperTools/.onnxruntime/onnxruntime.db tmp/.ses " ]
