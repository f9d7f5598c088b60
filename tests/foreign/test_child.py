"""A runtime's process may die, hang or write nonsense: a sentence says so; the next one works."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from npusim.errors import ConfigError, MissingExtraError, NpusimError
from npusim.foreign import child, shelves
from npusim.foreign.child import asked, running
from npusim.foreign.runtimes import Foreign
from npusim.foreign.side import Refused

ROOT = Path(__file__).resolve().parents[2]
CODE = "tests.foreign.fake_runtime"
FAKE = Foreign("Fake Runtime", "json", "fake", "tests", CODE)
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def ask(function, *arguments):
    return asked(FAKE, function, *arguments, where="net.onnx", remedy="do without it")


@pytest.fixture(autouse=True)
def _fresh():
    yield
    child.stop_all()


def test_one_process_answers_again_and_again():
    feeds = {"x": np.arange(6, dtype=np.int8).reshape(2, 3)}
    ((found, rest),) = [ask("echoed", feeds, [1, None, "a", 0.5, b"raw"])]
    np.testing.assert_array_equal(found["x"], feeds["x"])
    assert found["x"].dtype == np.int8
    assert rest == [1, None, "a", 0.5, b"raw"]
    assert ask("process") == ask("process") != os.getpid()


@posix
@pytest.mark.parametrize(
    ("question", "said"),
    [
        (("aborted",), "was ended by SIGABRT (it said: terminate called: no such kernel)"),
        (("left", 0), "has ended with code 0"),
        (("left", 3), "has ended with code 3"),
        (("killed",), "was ended by SIGKILL"),
    ],
)
def test_the_end_of_a_process_is_an_error(question, said):
    with pytest.raises(NpusimError) as caught:
        ask(*question)
    assert caught.value.what == f"Fake Runtime {said}"
    assert caught.value.where == "net.onnx"
    assert "do without it" in caught.value.remedy
    assert ("more memory" in caught.value.remedy) == ("SIGKILL" in said)
    assert ask("echoed", 1) == [1]


def test_a_process_that_hangs_is_ended(monkeypatch):
    before = ask("process")
    monkeypatch.setenv("NPUSIM_RUNTIME_SECONDS", "0.3")
    with pytest.raises(NpusimError, match=r"0\.3 seconds \(NPUSIM_RUNTIME_SECONDS is the limit\)"):
        ask("slept", 60)
    monkeypatch.delenv("NPUSIM_RUNTIME_SECONDS")
    assert ask("process") != before
    if os.name == "posix":
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "1e30"])
def test_limits_that_are_none_are_refused(monkeypatch, text):
    monkeypatch.setenv("NPUSIM_RUNTIME_SECONDS", text)
    with pytest.raises(ConfigError, match="NPUSIM_RUNTIME_SECONDS"):
        ask("version")


def test_nonsense_instead_of_an_answer_ends_the_process():
    with pytest.raises(NpusimError, match=r"Fake Runtime (was ended by|has ended)"):
        ask("mumbled")
    assert ask("echoed", 1) == [1]


def test_what_a_runtime_prints_or_reads_is_no_message():
    assert ask("noisy") == ""


def test_what_goes_wrong_inside_comes_out():
    with pytest.raises(Refused, match="no such operator"):
        ask("refused")
    with pytest.raises(MemoryError, match="for a tensor"):
        ask("without_memory")
    with pytest.raises(RuntimeError, match=r"process of Fake Runtime(.|\n)*ZeroDivisionError"):
        ask("failed")
    assert ask("echoed", 1) == [1]


def test_a_runtime_that_does_not_load_is_refused(monkeypatch, tmp_path):
    (tmp_path / "broken_runtime.py").write_text("raise ImportError('libGL.so.1: not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = FAKE._replace(module="broken_runtime", code="npusim.foreign.with_opencv")
    with pytest.raises(MissingExtraError, match=r"no_such_module.*not installed"):
        running(FAKE._replace(module="no_such_module"))
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: not found')\n")
    with pytest.raises(NpusimError, match=r"cannot be imported: libGL\.so\.1: not found"):
        child.version_of(broken)


def test_several_threads_ask_one_process():
    ask("version")
    with ThreadPoolExecutor(4) as pool:
        begin = time.perf_counter()
        assert list(pool.map(lambda _: ask("slept", 0.5), range(4))) == [0.5] * 4
        assert time.perf_counter() - begin < 1.9  # one after the other takes 2
        found = list(pool.map(lambda n: ask("echoed", np.full(1000, n)), range(100)))
    assert [int(value[0]) for (value,) in found] == list(range(100))


@posix
def test_all_that_wait_are_told():
    ask("version")
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(ask, "slept", 60) for _ in range(2)]
        time.sleep(0.3)
        with pytest.raises(NpusimError, match="SIGABRT"):
            ask("aborted")
        for one in waiting:
            with pytest.raises(NpusimError, match="SIGABRT"):
                one.result(10)


def test_notes_want_no_answer():
    for value in range(3):
        running(FAKE).tell("told", value)
    end = time.monotonic() + 30
    while len(found := ask("heard")) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert sorted(found) == [0, 1, 2]  # they may overtake each other


@pytest.fixture(params=["shelves", "pipe"])
def way(request, monkeypatch):
    """Both ways of answers: shared memory, and the pipe of systems without it."""
    if request.param == "pipe":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    elif not hasattr(os, "memfd_create"):
        pytest.skip("this system has no shared memory without a name")
    return request.param


def test_arrays_come_on_shelves_or_through_the_pipe(way):
    kept = [ask("ones", 100_000 + n) for n in range(40)]  # more than there are shelves
    for number, found in enumerate(kept):
        np.testing.assert_array_equal(found["big"], np.ones(100_000 + number, np.float32))
        np.testing.assert_array_equal(found["small"], np.arange(3))
        assert not found["big"].flags.writeable
    assert bool(running(FAKE)._shelves.descriptors) == (way == "shelves")


def test_shelves_are_used_again_and_large_ones_given_back(way, monkeypatch):
    if way == "pipe":
        pytest.skip("nothing to give back")
    monkeypatch.setattr(shelves, "KEPT_BYTES", 1 << 16)
    made = running(FAKE)._shelves
    for _ in range(3 * len(made.descriptors)):
        found = ask("ones", 1 << 20)
        assert not ask("ones", 0)["big"].size
        assert len(made._free) == len(made.descriptors) - 1
        del found
        assert len(made._free) == len(made.descriptors)
    assert sum(os.fstat(fd).st_blocks for fd in made.descriptors) * 512 < 1 << 20


def test_a_shelf_cannot_be_shortened():
    if not hasattr(os, "memfd_create"):
        pytest.skip("this system has no shared memory without a name")
    ask("ones", 1 << 20)
    for descriptor in running(FAKE)._shelves.descriptors:
        if os.fstat(descriptor).st_size:
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_has_a_process_of_its_own_and_keeps_its_arrays():
    kept, mine = ask("ones", 1 << 20)["big"], ask("process")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            theirs = ask("process")
            os.write(writing, b"x")
            time.sleep(1)  # meanwhile the other one lets its array go
            code = 0 if theirs != mine and kept.min() == kept.max() == 1 else 2
            child.stop_all()
        finally:
            os._exit(code)
    os.read(reading, 1)
    del kept
    gc.collect()
    for _ in range(20):
        assert (ask("echoed", np.zeros(1 << 20, np.float32))[0] == 0).all()
    assert ask("process") == mine
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(reading)
    os.close(writing)


def run_script(folder, text, cwd=None, **options):
    script = folder / "script.py"
    script.write_text(text)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd or folder,
        env={**os.environ, "PYTHONPATH": paths}, **options,
    )  # fmt: skip


ASKS = (
    "print('begin', flush=True)\n"
    "from npusim.foreign.child import asked\n"
    "from npusim.foreign.runtimes import Foreign\n"
    f"FAKE = Foreign('Fake', 'json', 'fake', 'tests', {CODE!r})\n"
    "def ask(*question): return asked(FAKE, *question, where='net', remedy='none')\n"
)


def test_a_script_without_a_guard_runs_once(tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('the working folder was imported')\n")
    (tmp_path / "inner").mkdir()
    script = run_script(tmp_path / "inner", ASKS + "print(ask('echoed', 1))\n", cwd=tmp_path)
    out, err = script.communicate(timeout=60)
    assert (out.split("\n")[:2], script.returncode) == (["begin", "[1]"], 0), err
    assert err == ""


def test_pythons_own_modules_come_first(tmp_path, monkeypatch):
    for name in ("typing", "json", "threading", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('this is not the real one')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert ask("echoed", 1) == [1]


@posix
@pytest.mark.parametrize("end", ["os._exit(0)", "os.kill(os.getpid(), 9)", "sys.exit(0)"])
def test_the_process_ends_with_the_one_that_asks(tmp_path, end):
    text = ASKS + (
        "import os, sys, threading\nprint(ask('process'), flush=True)\n"
        "threading.Thread(target=lambda: ask('slept', 60), daemon=True).start()\n"
    )
    out, _ = run_script(tmp_path, text + end).communicate(timeout=60)
    pid = int(out.split()[1])
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("it lives on")


@posix
def test_ctrl_c_ends_the_question(tmp_path):
    text = ASKS + (
        "ask('version'); print('ready', flush=True)\n"
        "try: ask('slept', 60)\n"
        "except KeyboardInterrupt: print('interrupted', ask('echoed', 1), flush=True)\n"
    )
    script = run_script(tmp_path, text, start_new_session=True)
    assert script.stdout.readline() + script.stdout.readline() == "begin\nready\n"
    time.sleep(0.3)
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does: to both processes
    out, err = script.communicate(timeout=20)
    assert (out, err, script.returncode) == ("interrupted [1]\n", "", 0)


def test_without_an_interpreter_of_its_own(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(NpusimError, match="brings its own Python"):
        ask("version")
    monkeypatch.undo()
    monkeypatch.setattr(sys, "executable", str(ROOT / "no-such-python"))
    with pytest.raises(NpusimError, match="Fake Runtime cannot be started: No such file"):
        ask("version")


def test_nothing_stays_behind():
    """Descriptors and threads are those of before, however processes ended."""

    def held():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list descriptors")
    gc.collect()
    before = held()
    for _ in range(3):
        ask("ones", 1000)
        with pytest.raises(NpusimError):
            ask("left", 1)
        ask("ones", 1000)
        child.stop_all()
    gc.collect()
    for _ in range(50):
        if held() == before:
            break
        time.sleep(0.05)
    assert held() == before
