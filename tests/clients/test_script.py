"""What a script under ``npusim exec`` sees, and how its end is told."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from npusim.clients.script import ALIAS
from tests.clients.models import small_onnx

ROOT = Path(__file__).resolve().parent.parent.parent

SEES = """
import json, os, sys
print(json.dumps([sys.argv, __name__, __file__, sys.path[0], os.getcwd(),
                  sys.modules["__main__"].__dict__ is globals()]))
"""


def test_it_sees_what_python_would_show_it(work, script):
    found = script(SEES, "rk1808", "--verbose", "-m", "--", "x")
    assert found.code == 0
    argv, name, file, first, folder, is_main = json.loads(found.out)
    assert argv == ["test.py", "rk1808", "--verbose", "-m", "--", "x"]
    assert (name, file, first, folder, is_main) == (
        "__main__",
        "test.py",
        str(work),
        str(work),
        True,
    )


def test_it_finds_modules_beside_it_from_anywhere(work, script, execute, monkeypatch):
    (work / "helper.py").write_text("value = 5", encoding="utf-8")
    (work / "test.py").write_text("import helper; print(helper.value)", encoding="utf-8")
    monkeypatch.chdir("/")
    assert execute(work / "test.py").out == "5\n"
    sys.modules.pop("helper")


NAMES = """
import urllib, importlib
from rknn.api import RKNN, RKNNCustomOP, IoMap, Shape
from rknn.api import rknn as inner, RKNN as again
from rknn.api.rknn import RKNN as third
from rknnlite.api import RKNNLite
import rknn, rknn.api, rknn.base
import npusim.rknn
assert RKNN is again is third is inner.RKNN is npusim.rknn.RKNN is rknn.api.RKNN
assert issubclass(RKNNLite, RKNN) and RKNNLite.NPU_CORE_0 == 1
assert rknn.__version__ == rknn.base.__version__ == "1.7.3"
urllib.request.urlretrieve
made = RKNN()
assert made.rknn_base.inference.__name__ == "inference"
shape = Shape(); shape.set_shape([1, 8, 9, 3], fmt='nhwc')
assert shape.format('nchw') == [1, 3, 8, 9]
IoMap('in0', 'in', 'input port 0')
print("found")
"""


def test_names_of_the_toolkit(script):
    found = script(NAMES)
    assert (found.code, found.out) == (0, "found\n"), found.err
    assert not any(name.partition(".")[0] in ("rknn", "rknnlite") for name in sys.modules)


def test_the_process_is_as_before(script):
    before = list(sys.path), list(sys.meta_path), os.environ.get("PYTHONPATH"), sys.argv[:0]
    main = sys.modules["__main__"]
    script("import numpy, sys; sys.path.append('x'); numpy.float; sys.argv.append('y')")
    assert (list(sys.path), list(sys.meta_path), os.environ.get("PYTHONPATH"), []) == before
    assert sys.modules["__main__"] is main
    assert "float" not in vars(sys.modules["numpy"])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("exit(0)", 0),
        ("exit(-1)", -1),
        ("import sys; sys.exit(7)", 7),
        ("exit()", 0),
        ("import sys; sys.exit('no model')", 1),
        ("raise KeyboardInterrupt", 130),
        ("1 / 0", 1),
    ],
)
def test_exit_codes(line, code, script):
    found = script(line)
    assert found.code == code
    assert ("no model" in found.err) == ("no model" in line)


def test_tracebacks_hold_the_scripts_frames_only(script):
    found = script("def run():\n    raise ValueError('mine')\n\nrun()\n")
    assert found.code == 1
    lines = found.err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == '  File "test.py", line 4, in <module>'
    assert lines[-1] == "ValueError: mine"
    assert "npusim" not in found.err


def test_a_syntax_error_is_told_as_python_tells_it(script):
    found = script("x = (\n")
    assert found.code == 1
    assert found.err.startswith('  File "test.py", line 1')
    assert "SyntaxError" in found.err


def test_the_scripts_own_hook_is_called(script):
    found = script("import sys\nsys.excepthook = lambda *e: print('told', e[0].__name__)\n1 / 0\n")
    assert (found.code, found.out) == (1, "told ZeroDivisionError\n")
    sys.excepthook = sys.__excepthook__


CONVERT = """
import sys
from rknn.api import RKNN
rknn = RKNN()
rknn.config(target_platform=['rk1808'])
rknn.load_onnx(model=sys.argv[1])
rknn.build(do_quantization=False)
rknn.export_rknn('out.rknn')
print('done')
rknn.release()
"""


def test_unheeded_failures_end_in_an_error(script):
    found = script(CONVERT, "missing.onnx")
    assert found.code == 2
    assert found.out.endswith("done\n")
    last = found.err.splitlines()[-1]
    assert last.startswith("E npusim exec: RKNN.load_onnx, RKNN.build, RKNN.export_rknn failed")
    assert "--ignore-failures" in last


def test_failures_may_be_ignored(script):
    found = script(CONVERT, "missing.onnx", options=["--ignore-failures"])
    assert found.code == 0
    assert "npusim exec:" not in found.err


def test_the_scripts_own_code_stands(script):
    found = script(CONVERT + "exit(-1)", "missing.onnx")
    assert found.code == -1
    assert "npusim exec:" not in found.err


def test_success_is_silent(work, script):
    small_onnx("net.onnx")
    found = script(CONVERT, "net.onnx")
    assert (found.code, found.out) == (0, "done\n")
    (line,) = found.err.splitlines()  # that no stick loads the file
    assert line.endswith("(npusim explain own-container)")
    assert (work / "out.rknn").is_file()


def test_failures_in_threads_count(script):
    text = (
        "import threading, time\nfrom rknn.api import RKNN\n"
        "def run():\n    time.sleep(0.2)\n    RKNN().load_onnx('missing.onnx')\n"
        "threading.Thread(target=run).start()\n"
    )
    before = threading.active_count()
    assert script(text).code == 2
    assert threading.active_count() == before


def test_library_messages_come_once(script):
    """The log of the object says them; the command line's handler does not say them again."""
    found = script(
        "import logging\nlogging.getLogger('npusim').warning('heard')\n"
        "from npusim.rknn import RKNN\nRKNN(verbose=True).load_onnx('x.onnx')\n"
    )
    assert found.err.count("the model file does not exist") == 1


def test_modules_run_as_well(execute):
    found = execute("-m", "rknn.bin.list_devices")
    assert found.code == 0
    assert "None devices connected." in found.out
    found = execute("-m", "rknn.bin.nothing")
    assert found.code == 1
    assert "No module named rknn.bin.nothing" in found.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "there is no script"),
        (("missing.py",), "missing.py: cannot be read"),
        (("--install-alias", "--remove-alias"), "stand alone"),
        (("--install-alias", "test.py"), "stand alone"),
    ],
)
def test_usage(arguments, text, execute):
    found = execute(*arguments)
    assert found.code == 2
    assert text in found.err


@pytest.mark.slow
def test_programs_that_a_script_starts_find_the_names_too(work):
    (work / "test.py").write_text(
        "import subprocess, sys\n"
        "sys.exit(subprocess.call([sys.executable, '-c', 'from rknn.api import RKNN; exit(3)']))",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "npusim", "exec", "test.py"]
    assert subprocess.run(command, env=environment, check=False).returncode == 3


def test_aliases_only_pass_names_on():
    for path in ALIAS.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 16, path
