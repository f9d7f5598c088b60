"""The collector pauses while a command is imported and works while it runs."""

import subprocess
import sys

SHOWN = """
import gc, sys
first = gc.get_freeze_count()  # Python 3.12 has passed over some of its own
from npusim.cli import ops, start
def command():
    print("collects", gc.isenabled(), gc.get_freeze_count() - first > 1000, file=sys.stderr)
ops.command = command
print("before", gc.isenabled(), gc.get_freeze_count() - first, file=sys.stderr)
sys.argv = ["npusim", "ops"]
start()
"""


def test_the_collector_works_again_when_the_command_runs():
    done = subprocess.run([sys.executable, "-c", SHOWN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["before True 0", "collects True True"]


def test_a_command_that_is_called_leaves_the_collector_alone(run):
    import gc

    frozen = gc.get_freeze_count()
    assert run("ops")[0] == 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == frozen
