"""Experiments run on toy tasks, whose store stands for the bundled sample."""

import pytest
from tests.cli.conftest import store, toys  # noqa: F401


@pytest.fixture
def sample(store, monkeypatch):  # noqa: F811
    for module in ("pwm.pipeline.quickstart", "pwm.experiments.recipe"):
        monkeypatch.setattr(f"{module}.sample_store_path", lambda: store)
