"""OpenCV's windows where there is no display: calls return at once, and one line says so."""

import os
import sys
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from npusim.clients.hooks import put

ESCAPE = 27
_SILENT = (
    "imshow", "namedWindow", "destroyWindow", "destroyAllWindows", "moveWindow", "resizeWindow",
    "setWindowTitle", "setWindowProperty", "setMouseCallback", "setTrackbarPos", "setTrackbarMin",
    "setTrackbarMax", "displayOverlay", "displayStatusBar", "updateWindow",
)  # fmt: skip
_ANSWERS = {
    "getWindowProperty": -1.0,  # no such window: loops that wait until it is closed end
    "getWindowImageRect": (-1, -1, -1, -1),
    "startWindowThread": 0,
    "selectROI": (0, 0, 0, 0),  # as when the user cancels
    "selectROIs": (),
}


def without_windows(cv2: ModuleType, undo: ExitStack) -> None:
    """Replace the functions of OpenCV that need a display, where there is none."""
    if not hasattr(cv2, "getBuildInformation") or not _nothing_to_draw_on(cv2):
        return
    told: set[str] = set()
    places: dict[tuple[Any, Any], int] = {}

    def tell(name: str) -> None:
        if not told:
            told.add(name)
            print(
                f"npusim exec: there is no display; cv2.{name} and its like show nothing",
                file=sys.stderr,
            )

    def answer(name: str, value: Any) -> None:
        def call(*_: Any, **__: Any) -> Any:
            tell(name)
            return value

        put(cv2, name, call, undo)

    def wait(name: str) -> None:
        def call(delay: int = 0) -> int:
            """Nobody presses a key within a time; waiting for ever ends as if by Escape."""
            tell(name)
            return -1 if delay and delay > 0 else ESCAPE

        put(cv2, name, call, undo)

    def create(bar: Any, window: Any, value: Any = 0, *_: Any) -> None:
        tell("createTrackbar")
        places[bar, window] = value if isinstance(value, int) else 0

    def place(bar: Any, window: Any) -> int:
        tell("getTrackbarPos")
        return places.get((bar, window), -1)

    for name in _SILENT:
        answer(name, None)
    for name, value in _ANSWERS.items():
        answer(name, value)
    for name in ("waitKey", "waitKeyEx"):
        wait(name)
    answer("pollKey", -1)
    put(cv2, "createTrackbar", create, undo)
    put(cv2, "getTrackbarPos", place, undo)


def _nothing_to_draw_on(cv2: Any) -> bool:
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return True
    information = cv2.getBuildInformation()
    gui = next((line for line in information.splitlines() if line.strip().startswith("GUI:")), "")
    return gui.split()[-1:] == ["NONE"]
