"""The small data set that comes with the package."""

from pathlib import Path


def sample_store_path() -> Path:
    """Folder of the bundled episode store: four dm_control tasks, 100 episodes each (see CARD.md in it)."""
    return Path(__file__).parent / "sample"
