"""The generated parts of the README are those of the registries."""

import sys

import pytest
from making import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import readme


@pytest.mark.parametrize(
    ("page", "part"),
    [
        ("README.md", "formats"),
        ("README.md", "datasets"),
        ("docs/formats.md", "formats"),
        ("docs/datasets.md", "sources"),
    ],
)
def test_generated_parts_are_current(page, part):
    tables = {
        ("README.md", "formats"): readme.formats_table,
        ("README.md", "datasets"): readme.datasets_table,
        ("docs/formats.md", "formats"): readme.formats_page,
        ("docs/datasets.md", "sources"): readme.sources_table,
    }
    text = (ROOT / page).read_text()
    current = readme.replaced(text, part, tables[page, part]()) == text
    assert current, f"{page} is out of date: run python docs/readme.py"


def test_the_map_names_every_room():
    text = (ROOT / "README.md").read_text()
    rooms = [p.stem for p in (ROOT / "eventkit").iterdir() if not p.name.startswith(("_", "."))]
    missing = [
        room for room in rooms if room != "py" and room not in text.partition("## The house")[2]
    ]
    assert not missing
