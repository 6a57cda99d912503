"""The pages of the benchmarks' numbers are those of the committed JSON."""

import shutil

import pytest

from benchmarks.pages.__main__ import PAGES, RESULTS, main


@pytest.mark.parametrize("name", PAGES)
def test_the_committed_page_is_that_of_its_numbers(name, tmp_path):
    shutil.copy(RESULTS / f"{name}.json", tmp_path)
    main(tmp_path)
    assert (tmp_path / f"{name}.md").read_text() == (RESULTS / f"{name}.md").read_text()
    assert len([*tmp_path.iterdir()]) == 2
