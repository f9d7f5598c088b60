"""What code takes at most, measured in a process of its own."""

import re
import subprocess
import sys

SNIPPET = """
import resource
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
{code}
"""


def refused_within(code: str, *, megabytes: int = 1500, seconds: float = 20) -> str:
    """Run code that must end in an error of npusim; return its message.

    The process may take so much address space and time: what would take more fails the test.
    """
    whole = SNIPPET.format(limit=megabytes << 20, code=code)
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, timeout=seconds, check=False
    )
    last = done.stderr.strip()
    assert done.returncode == 1, (done.returncode, last[-2000:])
    found = re.search(r"^npusim\.errors\.(\w+): (.*)", last, re.MULTILINE | re.DOTALL)
    assert found, last[-2000:]
    return found.group(2)
