"""The documentation: generated parts are current, links lead somewhere, examples run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from making import ROOT, make_gestures

import eventkit
from eventkit import datasets

sys.path.insert(0, str(ROOT / "docs"))

import dataset_pages
import readme

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
STALE = "run python docs/readme.py"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", readme.PARTS)
def test_generated_parts_are_current(page):
    made = readme.current(page, readme.PARTS[page])
    assert made == (ROOT / page).read_text(encoding="utf-8"), STALE


@pytest.mark.parametrize("page", readme.TORCH_PARTS)
def test_generated_parts_of_networks_are_current(page):
    pytest.importorskip("torch")
    made = readme.current(page, readme.TORCH_PARTS[page])
    assert made == (ROOT / page).read_text(encoding="utf-8"), STALE


def test_the_pages_of_datasets_are_current():
    made = dataset_pages.pages()
    there = {p.name: p.read_text(encoding="utf-8") for p in dataset_pages.FOLDER.glob("*.md")}
    assert there.keys() == made.keys(), STALE
    assert not [name for name, text in made.items() if there[name] != text], STALE


def test_a_page_of_a_dataset_has_its_card():
    for name in ("cifar10dvs", "sl_animals_dvs", "dhp19"):
        dataset, page = datasets.load(name), dataset_pages.page(datasets.load(name))
        assert page.startswith(f"# {dataset.title}\n\n{dataset.about}\n")
        assert dataset.bibtex in page
        assert all(text in page for text in (*dataset.defects, *dataset.unverified))
        assert all(value in page for s in dataset.files for value in s.sums.values())
        assert (f"eventkit convert {name} " in page) == bool(dataset.layout)
        assert dataset.layout or dataset.missing in page


def test_the_readme_links_every_page():
    """A page without a link from the README is not found by its readers."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [p.name for p in (ROOT / "docs").glob("*.md") if f"docs/{p.name}" not in text]


def test_the_package_layout_names_every_room():
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Package layout")[2]
    layout = text.partition("```\n")[2].partition("```")[0]
    names = {line.split()[0].rstrip("/") for line in layout.splitlines()}
    rooms = [path for path in (ROOT / "eventkit").iterdir() if path.name[0] not in "_."]
    assert not [path.name for path in rooms if path.name not in names | {"py.typed"}]
    assert not [
        name for name in names if not any((ROOT / p / name).exists() for p in ("", "eventkit"))
    ]


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", ["docs/development.md", "docs/storage.md", "SECURITY.md"])
def test_files_that_a_page_names_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:eventkit|cli|tests|benchmarks|datasets_meta)/[\w/.]+)", text)
    assert named
    assert not [name for name in named if not (ROOT / name).exists() and "NAME" not in name
                and "FAMILY" not in name]  # fmt: skip


def test_the_python_of_the_readme_runs(tmp_path):
    pytest.importorskip("torch")
    make_gestures(tmp_path / "raw")
    (code,) = blocks("README.md", "python")
    assert len(code.strip().splitlines()) <= 13
    code += "print(grid.shape, *frames.shape[2:], *logits.shape[1:])"
    done = python(["-c", code], tmp_path)
    assert done.stdout == "(9, 2, 128, 128) 2 128 128 11\n"


def test_the_plugin_of_the_documentation_works(tmp_path):
    make_gestures(tmp_path / "raw")
    (code,) = blocks("docs/plugins.md", "python")
    (tmp_path / "mykit.py").write_text(code)
    typed = blocks("docs/plugins.md", "console")[0].replace("\\\n", "").splitlines()
    export, show, convert = (shlex.split(line.removeprefix("$ ")) for line in typed)
    variables = dict(word.split("=") for word in export[1:])
    shown = python(["-m", *show], tmp_path, **variables)
    assert "Sum of polarities" in shown.stdout
    python(["-m", *convert], tmp_path, **variables)
    frames = eventkit.open(tmp_path / "sums.zarr")["train"].frames[0]
    assert frames.shape == (1, 1, 128, 128)
    assert frames[0, 0, :64].any()
    assert not frames[0, 0, 64:].any()


def test_the_described_dataset_of_the_documentation_is_read(tmp_path, monkeypatch):
    (text,) = blocks("docs/datasets.md", "toml")
    (tmp_path / "mine.toml").write_text(text.replace('"..."', '"' + 64 * "0" + '"'))
    monkeypatch.setenv("EVENTKIT_DATASETS", str(tmp_path))
    assert datasets.load("mine").classes == ("rest", "wave")


def python(words: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with this checkout and these environment variables."""
    paths = [variables.pop("PYTHONPATH", ""), str(ROOT)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))} | variables
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done


def test_the_citation_is_of_this_version():
    yaml = pytest.importorskip("ruamel.yaml")
    cited = yaml.YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["version"] == eventkit.__version__
    assert cited["license"] == "MIT"
