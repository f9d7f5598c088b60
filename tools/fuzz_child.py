"""Runs inputs of ``fuzz.py``, each in a fork of this process with limits; developer's tool.

Reads a folder a line, answers a line of JSON: verdict, and what tells one fault from another.
"""

import contextlib
import ctypes
import faulthandler
import json
import logging
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from importlib import import_module
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fuzz_seeds import LOADERS, ROOT, Loader, run

WARMED = 12
PATIENCE = 30
"""Times the limit of processor time that an input may take on the clock."""

LONGEST = 3000
"""Characters of a message that somebody reads."""

# imported before the forks, which then begin at once
AHEAD = ("onnxruntime", "ai_edge_litert.interpreter", "onnx.reference",
         "onnx.shape_inference", "npusim.reference.evaluate",
         "npusim.importers.onnx.importer", "npusim.importers.tflite.importer",
         "npusim.importers.caffe.importer", "npusim.importers.keras.importer",
         "npusim.importers.tensorflow.importer", "npusim.importers.vendor.importer",
         "npusim.importers.darknet.importer", "npusim.importers.mxnet.importer",
         "npusim.quantization.dataset", "npusim.evaluation.annotations")  # fmt: skip


def key_of(error: BaseException) -> str:
    """Return the exception's type and the innermost places in npusim."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if str(ROOT) in frame.filename
    ]
    places = [
        f"{Path(f.filename).relative_to(ROOT)}:{f.name}"
        for f in frames
        if "tools" not in Path(f.filename).parts
    ]
    return f"{type(error).__name__} in " + " < ".join(reversed(places[-3:]))


def judged(loader: Loader, folder: Path) -> dict[str, str]:
    """Return the verdict on an input."""
    from npusim.errors import NpusimError

    try:
        result = loader.load(folder)
    except NpusimError as error:
        if not error.what or len(str(error)) > LONGEST:
            return {"verdict": "message", "key": key_of(error), "text": str(error)[:200]}
        return {"verdict": "refused", "text": str(error)[:200]}
    except BaseException as error:
        text = traceback.format_exc()[-1500:]
        return {"verdict": "exception", "key": key_of(error), "text": text}
    try:
        wrong = loader.check(folder, result)
    except NpusimError as error:
        return {"verdict": "ok", "text": str(error)[:200]}
    except BaseException as error:
        text = traceback.format_exc()[-1500:]
        return {"verdict": "exception", "key": f"run: {key_of(error)}", "text": text}
    if wrong:
        kinds = sorted({node.op for node in result.nodes})
        return {"verdict": "differs", "key": f"differs {' '.join(kinds)}", "text": wrong}
    return {"verdict": "ok"}


def _child(name: str, folder: Path, answer: int, hang: Path, limits: tuple[float, int]) -> None:
    seconds, megabytes = limits
    silent = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(silent, number)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limit = used + 2 * (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 2, int(seconds) + 2))
    with hang.open("w") as file:
        # processor time: other programs may stop this one
        faulthandler.register(signal.SIGPROF, file=file)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        found = judged(LOADERS[name], folder)
        signal.setitimer(signal.ITIMER_PROF, 0)
    os.write(answer, json.dumps(found).encode())
    os._exit(0)


def run_one(name: str, folder: Path, seconds: float, megabytes: int) -> dict[str, Any]:
    """Fork, run and judge one input."""
    begin = time.monotonic()
    hang = folder.with_name(folder.name + ".hang")
    reading, writing = os.pipe()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            # the fork ends when the process that asked is gone
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            _child(name, folder, writing, hang, (seconds, megabytes))
        finally:
            os._exit(99)
    os.close(writing)
    content, deadline = b"", begin + PATIENCE * seconds
    while select.select([reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reading, 1 << 16)
        if not part:
            break
        content += part
    asleep = time.monotonic() >= deadline
    if asleep:
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    _, status, usage = os.wait4(pid, 0)
    late = asleep or (not content and usage.ru_utime + usage.ru_stime >= seconds)
    found = json.loads(content) if content else {}
    if late:
        places = [line.strip() for line in hang.read_text().splitlines() if str(ROOT) in line]
        shown = [p.replace(f"{ROOT}/", "") for p in places if "/tools/" not in p]
        key = " < ".join(shown[:3]) or "outside"
        found = {"verdict": "hang", "key": f"hang {key}", "text": "\n".join(places)[:1500]}
    elif not content:
        code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        places = hang.read_text().splitlines()[:20]
        found = {"verdict": "crash", "key": f"crash {code}", "text": "\n".join(places)}
    elif (usage.ru_maxrss - base) >> 10 > megabytes and found["verdict"] in ("ok", "refused"):
        found |= {"verdict": "blow-up", "key": f"blow-up {found.get('text', '')[-80:]}"}
    hang.unlink(missing_ok=True)
    megabytes_used = max(0, usage.ru_maxrss - base) >> 10
    return found | {"seconds": round(time.monotonic() - begin, 3), "megabytes": megabytes_used}


def _warm(loader: Loader) -> None:
    """Load and run some seeds here, so that kernels are there before the forks."""
    for files in islice(loader.seeds(), WARMED):
        with TemporaryDirectory() as place, contextlib.suppress(Exception):
            for label, content in files.items():
                (Path(place) / label).write_bytes(content)
            run(Path(place), loader.load(Path(place)))


def main() -> None:
    """Answer until the input ends."""
    name, seconds, megabytes = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    logging.disable(logging.CRITICAL)
    for module in AHEAD:
        import_module(module)
    _warm(LOADERS[name])
    for line in sys.stdin:
        print(json.dumps(run_one(name, Path(line.strip()), seconds, megabytes)), flush=True)


if __name__ == "__main__":
    main()
