"""Lines with level letters, files, and no interference with the user's logging."""

import io
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import npusim
from npusim.errors import ConfigError
from npusim.rknn import RKNN
from npusim.rknn.boundary import boundary
from npusim.rknn.log import Log


def test_letters_and_levels(capfd):
    for verbose, shown in ((False, "W c\nE d\nE e\n"), (True, "D a\nI b\nW c\nE d\nE e\n")):
        log = Log(verbose=verbose)
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d\ne")
        assert capfd.readouterr().err == shown


def test_case_B20_verbose_file_stores_the_same_text(work, new, capfd):
    rknn = new(verbose=True, verbose_file=str(work / "log.txt"))
    rknn.config(target_platform="rk1")
    assert rknn.load_onnx("missing.onnx") == -1
    shown = capfd.readouterr().err
    assert shown == (work / "log.txt").read_text()
    assert "E RKNN.config: target_platform 'rk1'" in shown
    assert not (work / "npusim_error.log").exists()


def test_case_B20_missing_folder_is_a_warning(work, new, capfd):
    rknn = new(verbose=True, verbose_file=str(work / "none" / "log.txt"))
    assert "W verbose_file" in capfd.readouterr().err
    assert rknn.config() is None
    new(verbose_file=str(work / "log.txt"))
    assert "needs verbose=True" in capfd.readouterr().err
    assert not (work / "log.txt").exists()


def test_a_failed_call_stores_the_full_log(work, new, capfd):
    rknn = new()
    assert rknn.load_onnx("missing.onnx") == -1
    text = capfd.readouterr().err
    assert f"E the full log is in {work / 'npusim_error.log'}" in text
    assert "missing.onnx" in (work / "npusim_error.log").read_text()


def test_vendor_name_of_the_error_log(work, new, monkeypatch):
    monkeypatch.setenv("NPUSIM_VENDOR_LOGNAME", "1")
    assert new().load_onnx("missing.onnx") == -1
    assert (work / "log_feedback_to_the_rknn_toolkit_dev_team.log").exists()


def test_error_log_in_a_read_only_folder(work, new, capfd, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert new().load_onnx("missing.onnx") == -1
    assert "cannot be stored" in capfd.readouterr().err


class Broken(RKNN):
    @boundary(lambda: -1)
    def crash(self):
        return 1 // 0

    @boundary(lambda: -1)
    def interrupt(self):
        raise KeyboardInterrupt


def test_unexpected_errors_never_reach_the_caller(work, capfd):
    assert Broken().crash() == -1
    text = capfd.readouterr().err
    assert "E RKNN.crash: unexpected ZeroDivisionError" in text
    assert "Traceback" not in text
    assert "Traceback" in (work / "npusim_error.log").read_text()


def test_interrupts_pass():
    with pytest.raises(KeyboardInterrupt):
        Broken().interrupt()


@pytest.mark.parametrize(
    ("call", "failure"),
    [
        (lambda r: r.load_onnx(), -1),
        (lambda r: r.load_onnx(None), -1),
        (lambda r: r.load_onnx(3), -1),
        (lambda r: r.load_onnx("x.onnx", 1, 2, 3, 4, 5), -1),
        (lambda r: r.load_rknn(""), -1),
        (lambda r: r.build(), -1),
        (lambda r: r.export_rknn("x"), -1),
        (lambda r: r.init_runtime(), -1),
        (lambda r: r.inference([]), None),
        (lambda r: r.eval_perf(), None),
        (lambda r: r.eval_memory(), None),
        (lambda r: r.get_sdk_version(), None),
        (lambda r: r.fetch_rknn_model_config("none.rknn"), None),
        (lambda r: r.export_rknn_precompile_model("x"), -1),
        (lambda r: r.export_rknn_sync_model(), -1),
        (lambda r: r.export_encrypted_rknn_model("x"), -1),
    ],
)
def test_wrong_calls_return_the_documented_failure(new, capfd, call, failure):
    assert call(new()) is failure or call(new()) == failure
    text = capfd.readouterr().err
    assert text.startswith("E RKNN.")
    assert "unexpected" not in text


def test_missing_arguments_show_the_signature(new, capfd):
    assert new().load_onnx() == -1
    text = capfd.readouterr().err
    assert "load_onnx(model, inputs=None, input_size_list=None, outputs=None)" in text


def test_case_B19_the_users_logging_keeps_working(new):
    root = logging.getLogger()
    stream = io.StringIO()
    mine = logging.StreamHandler(stream)
    before, level = list(root.handlers), root.level
    root.addHandler(mine)
    try:
        rknn = new()
        rknn.config(target_platform="none")
        logging.getLogger("users").warning("hello")
        assert root.handlers == [*before, mine]
        assert root.level == level
        assert stream.getvalue() == "hello\n"
    finally:
        root.removeHandler(mine)


def test_library_warnings_reach_the_object_whose_call_runs(capfd):
    one, two = Log(), Log()
    library = logging.getLogger("npusim")

    def other():
        with two.active():
            library.warning("for two")

    with one.active():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        library.warning("for %s", "one")
    assert capfd.readouterr().err.splitlines().count("W for two") == 1
    assert list(one._kept) == ["W for one"]
    assert list(two._kept) == ["W for two"]


def test_kept_lines_are_bounded():
    log = Log()
    for i in range(5000):
        log.debug(str(i))
    assert len(log._kept) == 2000


def test_boundary_keeps_names_and_documentation():
    assert RKNN.load_onnx.__name__ == "load_onnx"
    assert "ONNX" in RKNN.load_onnx.__doc__


def test_expected_errors_have_no_traceback(work, capfd):
    log = Log()
    log.failure(ConfigError("what", where="where", rule="r", remedy="m"), call="call")
    assert "E call: where: what\nE   Rule: r\nE   Remedy: m\n" in capfd.readouterr().err
    assert "Traceback" not in (work / "npusim_error.log").read_text()


@pytest.mark.parametrize("configured", [True, False])
def test_case_B19_library_warnings_outside_of_calls(work, configured):
    """They go where logging sends them, as if no RKNN object existed."""
    script = (
        "import logging\n"
        + ("logging.basicConfig(format='MINE %(message)s')\n" if configured else "")
        + "from npusim.rknn import RKNN\n"
        "rknn = RKNN()\n"
        "logging.getLogger('npusim').warning('outside')\n"
        "logging.getLogger('npusim').info('quiet')\n"
        "rknn.load_onnx('missing.onnx')\n"
    )
    root = str(Path(npusim.__file__).parent.parent)
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=work,
        env={**os.environ, "PYTHONPATH": root},
        check=True,
    )
    lines = found.stderr.splitlines()
    assert lines[0] == ("MINE outside" if configured else "outside")
    assert lines[1].startswith("E RKNN.load_onnx: missing.onnx")
    assert "quiet" not in found.stderr
    assert found.stdout == ""
