"""What tools/chaos.py takes for whole, for refused and for mixed."""

import importlib.util
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "tools"
SET = ("best.json", "best.data", "best.quantization.cfg")


@pytest.fixture
def chaos(monkeypatch):
    monkeypatch.setenv("NPUSIM_NUM_THREADS", "1")  # the tool sets it
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    spec = importlib.util.spec_from_file_location("chaos", FOLDER / "chaos.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "chaos", module)
    spec.loader.exec_module(module)
    return module


def write(folder, words):
    folder.mkdir(exist_ok=True)
    for name, word in zip(SET, words, strict=True):
        (folder / name).unlink(missing_ok=True)
        if word:
            (folder / name).write_text(f"{word} {name}")


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("old",) * 3, "old"),
        (("new",) * 3, "new"),
        (("", "new", "old"), "refused"),
        (("", "", ""), "refused"),
        (("new", "old", "new"), None),
        (("old", "new", "old"), None),
        (("new", "", "new"), None),
        (("torn", "new", "new"), None),
    ],
)
def test_a_set_is_old_new_or_refused(chaos, tmp_path, words, state):
    known = {}
    for word in ("old", "new"):
        write(tmp_path / word, [word] * 3)
        known[word] = chaos.digests(tmp_path / word)
    write(tmp_path / "found", words)
    known = chaos.Known({}, known["old"], known["new"])
    command = chaos.COMMANDS["tune"]
    if state is None:
        with pytest.raises(AssertionError, match="of two runs"):
            chaos.state_of(tmp_path / "found", command, known)
    else:
        assert chaos.state_of(tmp_path / "found", command, known) == state


def test_every_command_that_writes_files_is_disturbed(chaos):
    written = {command.words[0] for command in chaos.COMMANDS.values()}
    assert written <= set(chaos.APP)
    assert set(chaos.APP) - written == {
        *("demo", "compare", "report", "info", "ops", "explain", "warmup", "exec", "conformance")
    }
