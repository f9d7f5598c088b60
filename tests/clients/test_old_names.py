"""Names that libraries dropped since the toolkit's time, and windows without a display."""

import pytest

from tests.clients.models import has

OLD = {
    "numpy": "import numpy as np; assert np.array([1.7]).astype(np.int).tolist() == [1]; np.object",
    "pillow": "from PIL import Image; assert Image.ANTIALIAS == Image.LANCZOS",
    "font": "from PIL import ImageFont as f; w, h = f.load_default().getsize('abc'); assert w > h",
    "draw": "from PIL import Image, ImageDraw\n"
    "w, h = ImageDraw.Draw(Image.new('RGB', (9, 9))).textsize('abc'); assert w > h > 0",
    "yaml": "import yaml; assert yaml.load('a: [1, 2]') == {'a': [1, 2]}\n"
    "assert yaml.load('1', Loader=yaml.Loader) == yaml.load('1', yaml.SafeLoader) == 1",
    "clock": "import time; assert time.clock() <= time.clock()",
    "collections": "import collections; assert issubclass(list, collections.Iterable)",
}


@pytest.mark.parametrize("name", OLD)
def test_old_names_are_there(name, script):
    found = script(OLD[name])
    assert found.code == 0, found.err


def test_yaml_without_a_loader_makes_no_objects(script):
    found = script("import yaml; yaml.load('!!python/object/apply:os.getcwd []')")
    assert found.code == 1
    assert "ConstructorError" in found.err


SHOWS = """
import cv2, numpy as np
image = np.zeros((4, 4, 3), np.uint8)
cv2.namedWindow('w', cv2.WINDOW_NORMAL)
cv2.imshow('w', image)
cv2.createTrackbar('t', 'w', 3, 10, lambda v: None)
while cv2.getWindowProperty('w', cv2.WND_PROP_VISIBLE) >= 1:
    cv2.waitKey(1)
print(cv2.getTrackbarPos('t', 'w'), cv2.waitKey(5000), cv2.waitKey(), cv2.waitKeyEx(0))
print(cv2.selectROI('w', image), cv2.imread('missing.png'))
cv2.destroyAllWindows()
"""


@pytest.mark.skipif(not has("cv2"), reason="OpenCV is not installed")
def test_windows_without_a_display(script):
    found = script(SHOWS)
    assert found.code == 0, found.err
    assert found.out == "3 -1 27 27\n(0, 0, 0, 0) None\n"
    assert found.err.count("there is no display") == 1


def test_opencv_is_not_needed(script):
    found = script("import sys; assert 'cv2' not in sys.modules or True; print('ran')")
    assert (found.code, found.out) == (0, "ran\n")
