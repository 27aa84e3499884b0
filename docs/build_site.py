"""Build the documentation site in build/docs/site: python docs/build_site.py

The pages of docs/ are copied to a folder of their own, together with pages that are generated here:
the interface of Python from docstrings (by mkdocstrings) and the help of every command. Zensical
makes the site from them; a broken link is an error.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner
from eventkit.cli import COMMANDS, group

import eventkit

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "docs"

# Section -> pages: files of docs/ without .md.
NAVIGATION = {
    "Start": ["index", "cheat_sheet", "coming_from"],
    "How to": [
        "howto/convert_recordings",
        "howto/choose_representation",
        "howto/clean_recording",
        "windows",
        "targets",
        "targets",
        "loading",
        "training",
        "methods",
        "howto/compare_spikingjelly",
        "howto/analyse_store",
        "howto/export_network",
        "howto/reproduce_paper",
        "cluster",
        "s3",
        "plugins",
    ],
    "Explanation": ["exactness", "storage", "development"],
    "Reference": [
        "commands",
        "command_line",
        "formats",
        "datasets",
        "representations",
        "transforms",
        "neurons",
        "models",
    ],
    "Python": [],  # filled with the pages of API
    "Gallery": ["gallery"],
    "Evidence": ["benchmarks", "conformance", "conformance_representations"],
}
# Page -> what it documents, as mkdocstrings names it.
API = {
    "eventkit": "eventkit",
    "Reading and writing": "eventkit.formats",
    "Events": "eventkit.events",
    "Windows": "eventkit.windowing",
    "Representations": "eventkit.representations",
    "Transforms": "eventkit.transforms",
    "Augmentations": "eventkit.augment",
    "Datasets": "eventkit.datasets",
    "Converting": "eventkit.conversion",
    "Stores": "eventkit.store.reader",
    "Loading": "eventkit.loader",
    "Batches of events": "eventkit.loader.packed",
    "Neurons and layers": "eventkit.snn",
    "Models": "eventkit.models",
    "Training": "eventkit.train",
    "Evaluating": "eventkit.evaluate",
    "Exporting": "eventkit.export",
    "Errors": "eventkit.errors",
}


def commands() -> str:
    """The help of every command."""
    lines = ["# Command line", ""]
    for name in COMMANDS:
        shown = CliRunner().invoke(group, [name, "--help"], prog_name="eventkit")
        lines += [f"## {name}", "", "```text", shown.output.rstrip(), "```", ""]
    return "\n".join(lines)


def interface() -> Iterator[tuple[str, str]]:
    """File name and text of each page of the Python interface."""
    for title, module in API.items():
        # "eventkit" lists its public names; other modules show what they define or export.
        options = "    options:\n      members_order: source\n      show_root_heading: false\n"
        text = f"# {title}\n\n`import {module}`\n\n::: {module}\n{options}"
        if module == "eventkit":
            heading = "\n    options:\n      heading: ek."
            names = "\n\n".join(
                f"::: {eventkit._HOME[n]}.{n}{heading}{n}" for n in eventkit.__all__
            )
            text = f"# eventkit\n\n`import eventkit as ek`\n\n{names}\n"
        yield module.removeprefix("eventkit.").replace(".", "_"), text


def stage(folder: Path) -> None:
    """Copy the pages; links to files of the repository become their names."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.py", "__pycache__")
    shutil.copytree(ROOT / "docs", folder, ignore=ignored)
    for page in folder.rglob("*.md"):
        text, at = page.read_text("utf-8"), ROOT / "docs" / page.relative_to(folder).parent

        def shown(link: re.Match[str], at: Path = at) -> str:
            target = (at / link[2].partition("#")[0]).resolve()
            return link[0] if target.is_relative_to(ROOT / "docs") else f"`{link[1]}`"

        page.write_text(re.sub(r"\[([^\]]*)\]\((\.\./[^)]*)\)", shown, text), "utf-8")
    (folder / "command_line.md").write_text(commands(), "utf-8")
    (folder / "api").mkdir()
    for name, text in interface():
        (folder / "api" / f"{name}.md").write_text(text, "utf-8")


def configuration() -> str:
    """mkdocs.yml, which Zensical reads."""
    pages = dict(NAVIGATION)
    pages["Python"] = [f"api/{name}" for name, _ in interface()]
    lines = [
        "site_name: eventkit",
        "site_description: From raw event-camera recordings to training tensors",
        "docs_dir: pages",
        "site_dir: site",
        "theme:",
        "  name: material",
        "  features: [navigation.sections, navigation.top, content.code.copy, search.suggest]",
        "  palette:",
        "    - {media: '(prefers-color-scheme)', toggle: {icon: lucide/sun-moon, name: Light}}",
        "    - media: '(prefers-color-scheme: light)'",
        "      scheme: default",
        "      toggle: {icon: lucide/sun, name: Dark}",
        "    - media: '(prefers-color-scheme: dark)'",
        "      scheme: slate",
        "      toggle: {icon: lucide/moon, name: As the system}",
        "plugins:",
        "  - search",
        "  - mkdocstrings:",
        "      handlers:",
        "        python:",
        f"          paths: [{ROOT}]",
        "          options:",
        "            show_source: false",
        "            show_root_heading: true",
        "            separate_signature: true",
        "            show_signature_annotations: true",
        "            heading_level: 2",
        f"            extensions: [{ROOT / 'docs' / 'doctests.py'}]",
        "markdown_extensions:",
        "  - tables",
        "  - toc: {permalink: true}",
        "  - pymdownx.highlight",
        "  - pymdownx.superfences",
        "nav:",
    ]
    for section, names in pages.items():
        lines.append(f"  - {section}:")
        lines += [f"    - {name}.md" for name in names]
    return "\n".join(lines) + "\n"


def main() -> int:
    source, site = BUILD / "pages", BUILD / "site"
    stage(source)
    named = {f"{name}.md" for names in NAVIGATION.values() for name in names}
    found = {
        str(p.relative_to(source))
        for p in source.rglob("*.md")
        if p.parent.name not in ("api", "datasets")
    }
    if named != found:
        raise SystemExit(f"pages missing from NAVIGATION or from docs/: {sorted(named ^ found)}")
    config = BUILD / "mkdocs.yml"
    config.write_text(configuration(), "utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(config)]
    environment = os.environ | {"NO_COLOR": "1"}
    code = subprocess.run(command, cwd=BUILD, env=environment, check=False).returncode
    if not code:
        print(f"open {site / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
