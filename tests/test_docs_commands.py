"""The commands that the documentation shows exist, with their options and specs."""

import itertools
import re
import sys

import click
import pytest
from eventkit.cli import COMMANDS, group
from making import ROOT

from eventkit.augment import AUGMENTATIONS
from eventkit.representations import REPRESENTATIONS
from eventkit.transforms import TRANSFORMS

sys.path.insert(0, str(ROOT / "docs"))

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
REGISTRIES = {
    "--rep": REPRESENTATIONS,
    "--transform": TRANSFORMS,
    "--augment": AUGMENTATIONS,
}


def shown(text: str) -> list[str]:
    """Command lines after a prompt, alone in a block, or between backticks."""
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^\$ ((?:\w+=\S+ )*eventkit .*)$", text, re.M)
    return lines + re.findall(r"`(eventkit [^`]*)`", text)


def unknown(line: str) -> list[str]:
    """What a command line names that does not exist."""
    words = line.partition("eventkit ")[2].partition("  #")[0].split()
    if not words or not re.fullmatch(r"[a-z-]+", words[0]):
        return []
    if words[0] not in COMMANDS:
        return [words[0]]
    command = group.get_command(click.Context(group), words[0])
    known = {"--help", "-h"}.union(*(p.opts + p.secondary_opts for p in command.params))
    odd = [
        w for w in words if re.fullmatch(r"--[a-z][\w-]*(=.*)?", w) and w.split("=")[0] not in known
    ]
    for option, spec in itertools.pairwise(words):
        registry, name = REGISTRIES.get(option), spec.strip("'\",;").partition(":")[0]
        if registry and re.fullmatch(r"[a-z]\w*", name) and name not in {*registry, "none"}:
            odd.append(spec)
    return odd


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_on_the_page_exist(page):
    pytest.importorskip("torch")  # of train and evaluate
    text = page.read_text(encoding="utf-8")
    lines = [line for line in shown(text) if "EVENTKIT_PLUGINS" not in text or "--rep" not in line]
    assert not {line: unknown(line) for line in lines if unknown(line)}


def test_the_table_for_users_of_tonic_names_representations_and_transforms():
    text = (ROOT / "docs/coming_from.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `transforms\.[^|]*\| ([^|]*) \|$", text, re.M)
    names = {name for row in rows for name in re.findall(r"`([a-z]\w*)(?::[^`]*)?`", row)}
    known = {*REPRESENTATIONS, *TRANSFORMS, *AUGMENTATIONS}
    assert len(names) > 10
    assert not names - known


def test_the_site_has_every_page():
    import build_site

    named = {f"{name}.md" for names in build_site.NAVIGATION.values() for name in names}
    found = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    listed = {name for name in found if not name.startswith("datasets/")}  # by docs/datasets.md
    assert named == listed | {"command_line.md"}
