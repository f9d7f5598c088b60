#!/usr/bin/env bash
# An external link in an HDF5 file that h5py reads from a file object leads back into that file.
#
# Versions: h5py 3.16.0 (HDF5 2.0.0), numpy 2.4.6, Python 3.11, x86-64 Linux.
# Expected: a link to /array of other.h5 gives that file's array or, where there is no such file,
# a KeyError, however the file with the link was opened.
# Seen: from a path it does. From io.BytesIO the library opens the link's file with the same driver,
# and the driver hands out the one file object that it has: the link's array is the array of the
# SAME file, other.h5 is not looked for, and `link.file.filename` names it all the same. A model
# whose weights are linked from another file loads other weights, without an error, when it comes
# out of an archive or a download; and a walk through all groups that knows files by number and
# address never ends, since each pass through the link is a new file.
#
# Output:
#   path: [7 8 9] of other.h5
#   path without other.h5: KeyError
#   file object: [1 2 3] of other.h5
#   file object without other.h5: [1 2 3] of other.h5
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q h5py==3.16.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PY'
import io
import os

import h5py
import numpy as np

with h5py.File("other.h5", "w") as file:
    file["array"] = np.array([7, 8, 9])
with h5py.File("links.h5", "w") as file:
    file["array"] = np.array([1, 2, 3])
    file["link"] = h5py.ExternalLink("other.h5", "/array")
with open("links.h5", "rb") as stream:
    content = stream.read()


def seen(source):
    with h5py.File(source, "r") as file:
        try:
            array = file["link"]
            return f"{array[()]} of {os.path.basename(array.file.filename)}"
        except KeyError as error:
            return type(error).__name__


found = {"path": seen("links.h5"), "file object": seen(io.BytesIO(content))}
os.remove("other.h5")
found["path without other.h5"] = seen("links.h5")
found["file object without other.h5"] = seen(io.BytesIO(content))
for how in ("path", "path without other.h5", "file object", "file object without other.h5"):
    print(f"{how}: {found[how]}")
assert found == {
    "path": "[7 8 9] of other.h5",
    "path without other.h5": "KeyError",
    "file object": "[1 2 3] of other.h5",
    "file object without other.h5": "[1 2 3] of other.h5",
}
PY
