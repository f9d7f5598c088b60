"""A system without what only Linux or POSIX has: ``python elsewhere.py FOLDER [less]``.

Does the same work with it and without, and prints digests of all results.
"""

import os
import sys
import types

ABSENT = (  # Windows has none of these; macOS no affinity and no memory without a name
    "fork", "forkpty", "register_at_fork", "sched_getaffinity", "sched_setaffinity",
    "sched_yield", "geteuid", "getuid", "memfd_create",
)  # fmt: skip
MODULES = ("fcntl", "resource", "pwd", "grp", "termios")


def take_away():
    """Remove the system's own facilities, before anything imports them."""
    import fcntl

    def locking(descriptor, mode, size):
        """Lock bytes as Windows does: they cannot be read by others, and EACCES says taken."""
        assert (mode, size) == (msvcrt.LK_NBLCK, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) >= 1 << 30
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PermissionError(13, "Permission denied") from error

    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
    for name in ABSENT:
        if hasattr(os, name):
            delattr(os, name)
    for name in MODULES:
        sys.modules[name] = None
    return msvcrt


def work(folder, msvcrt):
    """Do what touches the system: quantize, store, load, dump, locks, threads, another runtime."""
    import hashlib
    from pathlib import Path

    import numpy as np

    import npusim
    from npusim import assets
    from npusim.cli import main
    from npusim.errors import ConfigError
    from npusim.ir import locks
    from npusim.runtime import affinity
    from npusim.runtime.tape import play

    if msvcrt:
        sys.modules["msvcrt"] = msvcrt
        play.sys = types.SimpleNamespace(platform="win32")
        assert affinity._current_processor() is None
        assert play._offer() == 0
        assert locks.fcntl is None
    folder = Path(folder)
    picture, stored = str(assets.test_images()[0][0]), str(folder / "m.npusim")
    commands = (
        ["quantize", "demo", "--quantize", "u8", "-o", stored],
        ["dump", stored, "--input", picture, "-o", str(folder / "dump")],
        ["dump", stored, "--input", picture, "-o", str(folder / "dump")],  # over the first one
        ["compare", "demo", "--quantize", "f16", "--input", picture],
    )
    for command in commands:
        sys.argv = ["npusim", *command]
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        assert not code, command
    holders = (
        lambda: locks.Unfinished(folder / "set", "set"),
        lambda: locks.state_lock(folder / "state.json"),
    )
    for hold in holders:
        held = hold()
        try:
            hold()
        except ConfigError:
            held.finish() if isinstance(held, locks.Unfinished) else held.free(remove=True)
            again = hold()
            again.finish() if isinstance(again, locks.Unfinished) else again.free(remove=True)
        else:
            raise AssertionError("two hold one lock")
    print("results")
    program = npusim.compile(npusim.load_model(folder / "m.npusim"))
    ifm = np.random.default_rng(1).integers(0, 256, (1, 3, 48, 192)).astype(np.uint8)
    for value in program.run({program.graph.inputs[0]: ifm}).values():
        print("run", hashlib.sha256(value.tobytes()).hexdigest())
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            print(
                file.relative_to(folder).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()
            )


if __name__ == "__main__":
    work(sys.argv[1], take_away() if len(sys.argv) > 2 else None)
