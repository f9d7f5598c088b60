"""Python's garbage collector while a command starts.

Imports leave no garbage, but make so many objects that looking for some, then and when the process
ends, took a fifth of a short command. So it pauses until the command is imported and passes over
what is there by then.
"""

import gc

_paused = False


def pause() -> None:
    """Collect nothing until ``resume``."""
    global _paused
    gc.disable()
    _paused = True


def resume() -> None:
    """Collect again, if ``pause`` was called, but leave alone what was made before."""
    global _paused
    if _paused:
        gc.freeze()
        gc.enable()
    _paused = False
