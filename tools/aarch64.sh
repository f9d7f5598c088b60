#!/usr/bin/env bash
# npusim's bits on AArch64, under emulation on an x86-64 Debian: no arm64 machine and no root needed.
#
#   tools/aarch64.sh FOLDER [NETWORK.onnx ...]
#
# Debian's arm64 packages of Python 3.11 and qemu-user-static are unpacked into FOLDER, the wheel of this checkout and the
# AArch64 wheels of what it needs beside them. tools/path_digests.py then prints a digest of golden cases of every family and
# of every layer of the networks (default: the bundled classifier) there and here, on the portable and on the fastest path;
# the three lists must be equal. Networks are quantized here; whether calibration there finds the same scales is told. CASES (golden cases a file) and SCHEMES (number formats) can be set. Exit code 1: they differ.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-python3}"
mkdir -p "$1"
work="$(cd "$1" && pwd)"; shift
networks=("${@:-bundled}")
mkdir -p "$work/lists/partial" "$work/debs" "$work/wheels" "$work/site"

if [ ! -d "$work/root" ]; then
  apt="-oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oDir::State::Lists=$work/lists -oAPT::Sandbox::User=$(id -un)"
  apt-get $apt update >/dev/null
  (cd "$work/debs" && apt-get $apt download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 zlib1g libexpat1 \
    libffi8 libssl3 libbz2-1.0 liblzma5 libsqlite3-0 libstdc++6 libgcc-s1 libuuid1 libncursesw6 libtinfo6 libreadline8 libgomp1 \
    media-types >/dev/null)
  for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root.part"; done
  (cd "$work" && apt-get download qemu-user-static >/dev/null && dpkg -x qemu-user-static*.deb qemu)
  mv "$work/root.part" "$work/root"
fi
rm -rf "$work"/wheels/npusim-*.whl "$work"/site/npusim*
"$python" -m pip wheel -q --no-deps -w "$work/wheels" "$here"
if [ ! -d "$work/site/numpy" ]; then
  platforms="$(for n in 28 27 26 17; do echo "--platform manylinux_2_${n}_aarch64"; done)"
  "$python" -m pip download -q --only-binary=:all: --python-version 3.11 --platform manylinux2014_aarch64 $platforms \
    -d "$work/wheels" "$work"/wheels/npusim-*.whl
fi
for file in "$work"/wheels/*.whl; do "$python" -m zipfile -e "$file" "$work/site"; done

rm -rf "$work/models"; mkdir "$work/models"
tool=(tools/path_digests.py --cases "${CASES:-8}" --schemes "${SCHEMES:-u8,i8,i16,f16}" --models "$work/models" "${networks[@]}")
cd "$here"
for path in fastest portable; do
  echo "x86-64, $path"
  (
    [ "$path" = fastest ] || export NPUSIM_ISA=portable
    PYTHONPATH="$here" "$python" "${tool[@]}" >"$work/$path.txt"
  )
done
echo "AArch64 (qemu)"
PYTHONPATH="$work/site" NUMBA_CACHE_DIR="$work/cache" "$work/qemu/usr/bin/qemu-aarch64-static" -L "$work/root" \
  "$work/root/usr/bin/python3.11" "${tool[@]}" >"$work/aarch64.txt"
bits() { grep -v '^calibrated ' "$work/$1.txt"; }
ranges() { grep '^calibrated ' "$work/$1.txt"; }
for path in portable fastest; do
  diff <(bits aarch64) <(bits "$path") >"$work/$path.diff" || { head "$work/$path.diff"; exit 1; }
done
echo "$(bits aarch64 | wc -l) digests are equal on AArch64, x86-64 portable and x86-64 fastest"
echo "calibrated here and there: $(comm -12 <(ranges aarch64 | sort) <(ranges fastest | sort) | wc -l) of $(ranges fastest | wc -l) networks have the same scales to the last bit"
