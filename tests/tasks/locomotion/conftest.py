"""The locomotion tests need the extra."""

import pytest

pytest.importorskip("newton")
pytest.importorskip("warp")
