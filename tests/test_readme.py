"""The generated parts of the README are those of the registries."""

import sys

from making import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import readme


def test_formats_and_datasets_are_current():
    text = (ROOT / "README.md").read_text()
    assert readme.replaced(text, "formats", readme.formats_table()) == text, (
        "run python docs/readme.py"
    )
    assert readme.replaced(text, "datasets", readme.datasets_table()) == text
    page = (ROOT / "docs" / "formats.md").read_text()
    assert readme.replaced(page, "formats", readme.formats_page()) == page
    page = (ROOT / "docs" / "datasets.md").read_text()
    assert readme.replaced(page, "sources", readme.sources_table()) == page


def test_the_map_names_every_room():
    text = (ROOT / "README.md").read_text()
    rooms = [p.stem for p in (ROOT / "eventkit").iterdir() if not p.name.startswith(("_", "."))]
    missing = [
        room for room in rooms if room != "py" and room not in text.partition("## The house")[2]
    ]
    assert not missing
