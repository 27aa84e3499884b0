"""Write the generated parts of README.md and of docs/: python docs/readme.py

With --benchmarks ROWS.json also the benchmark tables, from the file that
`python benchmarks/run.py --json ROWS.json` wrote. All other parts come from the registries: PARTS
names the function that makes each. A test compares the pages with what they return.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import dataset_pages
from click.testing import CliRunner
from eventkit.cli import SECTIONS

from eventkit import datasets
from eventkit.formats import FORMATS
from eventkit.layouts import LAYOUTS, _division
from eventkit.registry import signature

# The benchmark rows of the README; docs/benchmarks.md has all of them.
MAIN = (
    "AEDAT 3.1, streamed$", "EVT3, streamed$", "frames by number$",
    "convert DVS128 Gesture", "load, 1 thread, float32$",
)  # fmt: skip

ROOT = Path(__file__).parents[1]
COMMON = ("chunk", "start", "stop", "strict")  # arguments of every reader


def formats_list() -> str:
    """The titles of all formats as one paragraph, and which of them are written too."""
    titles = [f"{fmt.title}{'' if fmt.write else ' *'}" for fmt in FORMATS.values()]
    readable, writable = len(titles), sum(fmt.write is not None for fmt in FORMATS.values())
    lines = [f"{readable} formats can be read and {writable} written (* read only):", ""]
    return "\n".join([*lines, *(f"- {title}" for title in titles)])


def formats_table() -> str:
    """The formats: name, title, suffixes, whether they can be written."""
    lines = ["| name | format | suffixes | read | write |", "|---|---|---|:-:|:-:|"]
    for fmt in FORMATS.values():
        write = "✓" if fmt.write else ""
        lines.append(f"| `{fmt.name}` | {fmt.title} | {_suffixes(fmt)} | ✓ | {write} |")
    return "\n".join(lines)


def formats_options() -> str:
    """Each format's options, what its reader counts and its limits: from the code itself."""
    parts = []
    for fmt in FORMATS.values():
        parts.append(f"### {fmt.name}\n\n{fmt.title}; {_suffixes(fmt)}\n\n{_text(fmt.stream)}\n")
        parts.append(f"- Options for reading: {_options(fmt.stream, COMMON)}.")
        if fmt.write:
            parts.append(f"- Options for writing: {_options(fmt.write)}. {_text(fmt.write)}")
        if fmt.extras:
            parts.append("- `ek.extra(path, name)`: " + ", ".join(f"`{n}`" for n in fmt.extras))
        if fmt.holds:
            parts.append("- Streams that are written: " + ", ".join(f"`{n}`" for n in fmt.holds))
        live = "decoded as it arrives" if fmt.live else "standard input only, buffered in a file"
        parts.append(f"- Live input: {live}.\n")
    return "\n".join(parts).rstrip()


def _suffixes(fmt: Any) -> str:
    return " ".join(f"`{suffix}`" for suffix in fmt.suffixes)


def _text(function: Callable[..., Any]) -> str:
    """The docstring as one paragraph."""
    return " ".join((inspect.getdoc(function) or "").split())


def _options(function: Callable[..., Any], without: Iterable[str] = ()) -> str:
    """The options of a reader or writer with their types and defaults."""
    hints = get_type_hints(function)
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY or name in without or name[0] == "_":
            continue
        default = "" if parameter.default is None else f" [{_shown(parameter.default)}]"
        found.append(f"`{name}` {_kind(hints[name])}{default}")
    return ", ".join(found) or "none"


def _kind(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return "width and height, as 346x260"
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] or [hint]
    if kinds != [hint]:
        return " or ".join(map(_kind, kinds))
    names = {int: "integer", float: "number", bool: "true or false", str: "text"}
    return names.get(hint, str(hint))


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def datasets_table() -> str:
    """The datasets that can be converted, by their tasks."""
    lines = ["| task | datasets |", "|---|---|"]
    known = [datasets.load(name) for name in datasets.names()]
    for task in datasets.TASKS:
        names = [f"`{each.name}`" for each in known if each.task == task and each.layout]
        if names:
            lines.append(f"| {task} | {' '.join(names)} |")
    whole = sum(bool(each.layout) for each in known)
    return (
        f"{whole} can be converted, {len(known) - whole} more are known in part.\n\n"
        + "\n".join(lines)
    )


def sources_table() -> str:
    """The datasets: facts, how to get each, what to know."""
    lines = [
        "| name | dataset | task | classes | samples | sensor | licence | how to get it | note |",
        "|---|---|---|--:|--:|---|---|---|---|",
    ]
    known = [datasets.load(name) for name in datasets.names()]
    for each in (each for each in known if each.layout):
        samples = " + ".join(f"{n:,} {split}" for split, n in each.samples.items())
        size = "×".join(map(str, each.size)) if each.size else ""
        automatic = each.files and all(source.urls for source in each.files)
        lines.append(
            _row(
                f"[`{each.name}`](datasets/{each.name}.md)",
                f"[{each.title}]({each.homepage}): {each.about}",
                each.task,
                each.n_classes or "",
                samples,
                f"{each.sensor} {size}",
                each.license,
                "`fetch`" if automatic else "by hand, then `adopt`",
                " ".join([each.note, *(f"Known defect: {told}." for told in each.defects)]).strip(),
            )
        )
    lines += ["", "Known in part, so that they cannot be converted yet:", ""]
    lines += ["| name | dataset | task | what is missing |", "|---|---|---|---|"]
    for each in (each for each in known if not each.layout):
        title = f"[{each.title}]({each.homepage}): {each.about}"
        name = f"[`{each.name}`](datasets/{each.name}.md)"
        lines.append(_row(name, title, each.task, each.missing))
    return "\n".join(lines)


def _row(*cells: Any) -> str:
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def layouts_table() -> str:
    """The layouts of datasets: name, and the first line of its module."""
    lines = ["| kind of layout | use it for |", "|---|---|"]
    for name, layout in LAYOUTS.items():
        about = (inspect.getmodule(layout.samples).__doc__ or "").partition("\n")[0]
        lines.append(f"| `{name}` | {about.rstrip('.')} |")
    return "\n".join(lines)


# What the keys of a description mean that no layout takes alone.
KEYS = {
    "title": "name of the dataset",
    "about": "one sentence on it",
    "task": "one of " + ", ".join(datasets.TASKS),
    "homepage": "its address",
    "cite": '"Authors, Title, Venue 2026", of which the BibTeX is made',
    "license": "its licence",
    "terms": "conditions that a person must accept before a download (`--accept-license`)",
    "sensor": "the camera",
    "note": "anything that users should know",
    "missing": "what is not known, instead of `[layout]`",
    "size": "width and height of the sensor, as `[346, 260]`",
    "format": "format of the recordings; detected by default",
    "reader": 'options of the format, as `{ chip = "dvs128" }`',
    "classes": "their names in the order of the labels, or "
    '`{ pattern = "class%d", first = 0, count = 10 }`',
    "samples": "published number of samples by split, with which the files are compared",
    "splits": "`[splits.NAME]`: another way to divide the samples: `about`, and options of the "
    "layout in place of those of `[layout]`",
    "files": "`[[files]]`: what is downloaded, see below",
    "layout": "`[layout]`: how the files become samples, see below",
    "example": "`[example]`: an example of the folder structure: "
    '`recordings = [["train/a/1.bin", "train", 0]]`, path, split and label; the tests of eventkit '
    "create and convert it",
    "targets": "`[targets.boxes]` and others: where boxes, points, intervals and text of a "
    "recording are (`eventkit/targets/files.py`)",
    "labels": "kinds of labels that are published with the events",
    "defects": "known faults, printed when it is converted",
    "unverified": "statements that no source confirms",
}
FILE_KEYS = {
    "name": "its name",
    "urls": "mirrors: https, `figshare:ID`, `zenodo:RECORD/FILE`, "
    "`doi:10.5281/zenodo.RECORD/FILE`, `gdrive:ID` or `hf://datasets/OWNER/NAME/FILE`",
    "page": "where a person can download it",
    "md5": "checksum",
    "sha256": "checksum",
    "crc32": "checksum",
    "bytes": "exact size",
    "about": "approximate size in bytes",
    "unpacked": "approximate size of its contents in bytes",
    "unpack": "whether an archive is unpacked",
    "nested": "archives inside it: `here` unpacks them in place, `folder` into folders of their "
    "names",
    "into": "folder below the root that its contents go to",
}


def keys_table() -> str:
    """Every key of a description and of [[files]], with its type."""
    lines = ["| key | type | meaning |", "|---|---|---|"]
    for key, kind in datasets.KINDS.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        named = " or ".join(TOML_TYPES[each] for each in kinds)
        lines.append(f"| `{key}` | {named} | {KEYS[key]} |")
    lines += ["", "Keys of `[[files]]`, one table for each file:", ""]
    lines += ["| key | type [default] | meaning |", "|---|---|---|"]
    hints = get_type_hints(datasets.SourceFile)
    for each in fields(datasets.SourceFile):
        default = "required" if each.default is MISSING else _shown(each.default) or "none"
        kind = _toml_kind(hints[each.name])
        lines.append(f"| `{each.name}` | {kind} [{default}] | {FILE_KEYS[each.name]} |")
    return "\n".join(lines)


TOML_TYPES = {str: "text", list: "list", dict: "table", bool: "true or false", int: "integer"}


def layouts_keys() -> str:
    """Every key of every layout: types, defaults, and what the layout does, from its code."""
    parts = [_layout_keys(name, layout.samples) for name, layout in LAYOUTS.items()]
    parts.append(_layout_keys("of every layout", _division.divide))
    parts.append(
        "The key `kind` names the layout, and `folder` the top folder of the archive, in which the "
        "files are looked for too."
    )
    return "\n\n".join(parts)


def _layout_keys(name: str, function: Callable[..., Any]) -> str:
    lines = [f"### {name}", "", _escaped(_text(function)), ""]
    lines += ["| key | type | default |", "|---|---|---|"]
    for key, each in inspect.signature(function).parameters.items():
        if each.kind is each.KEYWORD_ONLY:
            default = "required" if each.default is each.empty else each.default
            shown = "" if default is None else default
            lines.append(f"| `{key}` | {_toml_kind(each.annotation)} | {shown} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text in which <class> and {stem} are no markup."""
    return text.replace("<", "&lt;").replace("*", "\\*")


def _toml_kind(kind: Any) -> str:
    """A type as TOML has it."""
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{value}"`' for value in get_args(kind))
    if get_origin(kind) is list or get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        return "list" if inner is Any else f"list of {TOML_TYPES[inner]}s"
    if get_origin(kind) is dict:
        inner = get_args(kind)[1]
        return "table" if inner is Any else f"table of {TOML_TYPES.get(inner, 'number')}s"
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return " or ".join(map(_toml_kind, kinds)) if kinds else TOML_TYPES.get(kind, str(kind))


def listed(registry: str) -> str:
    """A table of what `eventkit REGISTRY --json` prints: name, facts, description, options."""
    command = import_module(f"eventkit.cli.{registry}").command
    result = CliRunner().invoke(command, ["--json"], catch_exceptions=False)
    entries = {n: e for n, e in json.loads(result.stdout).items() if e["package"] == "eventkit"}
    facts = list(next(iter(entries.values()))["more"])
    lines = [
        f"| name | {''.join(f'{fact} | ' for fact in facts)}what it is | options [default] |",
        "|---|" + "---|" * (len(facts) + 2),
    ]
    for name, entry in entries.items():
        options = ", ".join(_option(key, **one) for key, one in entry["options"].items())
        cells = [f"`{name}`", *entry["more"].values(), entry["about"], options]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _option(key: str, type: str, default: Any) -> str:
    kind = type.replace(" | ", " or ")
    required = "inspect._empty" in str(default)
    return f"`{key}` {kind} [{'required' if required else _shown(default)}]"


def commands_list() -> str:
    """The commands by section, as `eventkit --help` shows them."""
    lines = []
    for section, commands in SECTIONS.items():
        lines += [f"\n### {section}\n", "| command | what it does |", "|---|---|"]
        lines += [f"| `eventkit {name}` | {text} |" for name, text in commands.items()]
    return "\n".join(lines).strip()


def neurons_table() -> str:
    """The neurons: spec, class, description, options. Needs torch."""
    from eventkit.snn.neurons import NEURONS

    lines = ["| spec | class | what it is | options [default] |", "|---|---|---|---|"]
    for name, entry in NEURONS.items():
        cells = (f"`{name}`", f"`{entry.__name__}`", _first_line(entry), _defaults(entry))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def neurons_equations() -> str:
    """The docstring of each family of neurons, which has its equations and sources."""
    from eventkit.snn.neurons import NEURONS

    families: dict[str, list[str]] = {}
    for name, entry in NEURONS.items():
        families.setdefault(entry.__module__, []).append(f"`{name}`")
    parts = []
    for module, names in families.items():
        file = module.replace(".", "/") + ".py"
        head = f"### {', '.join(names)}\n\nFrom [{Path(file).name}](../{file}):"
        parts.append(f"{head}\n\n```text\n{inspect.getdoc(sys.modules[module])}\n```")
    return "\n\n".join(parts)


def surrogates_list() -> str:
    """The surrogate gradients by name."""
    from eventkit.snn.surrogate import SURROGATES

    return ", ".join(f"`{name}`" for name in SURROGATES)


def losses_table() -> str:
    """The losses of the trainer: name, description, options."""
    from eventkit.train.losses import LOSSES

    return _functions("--loss", LOSSES)


def methods_table() -> str:
    """How the trainer lets gradients go through time: name, description, options."""
    from eventkit.train.rules import RULES

    return _functions("--method", RULES)


def sparsity_table() -> str:
    """The methods of sparse training: name, description, options."""
    from eventkit.train.sparsity import SPARSIFIERS

    return _functions("--sparsity", SPARSIFIERS)


def schedules_list() -> str:
    """The schedules of the learning rate by name."""
    from eventkit.train.optim import SCHEDULES

    return ", ".join(f"`{name}`" for name in SCHEDULES)


def _functions(option: str, table: Mapping[str, Callable[..., Any]]) -> str:
    lines = [f"| `{option}` | what it is | options [default] |", "|---|---|---|"]
    for name, function in table.items():
        lines.append(f"| `{name}` | {_first_line(function)} | {_defaults(function)} |")
    return "\n".join(lines)


def _first_line(entry: Any) -> str:
    """The first paragraph of a docstring, as a cell of a table."""
    text = " ".join((inspect.getdoc(entry) or "").partition("\n\n")[0].split())
    return text.rstrip(".").replace("|", "\\|")


def _defaults(entry: Callable[..., Any]) -> str:
    """The options of an entry with their defaults."""
    empty = inspect.Parameter.empty
    return ", ".join(
        f"`{key}` [{'required' if default is empty else _shown(default)}]"
        for key, (_, default) in signature(entry).items()
    )


# Page -> name of a part between two marks -> the function that makes it.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {"formats": formats_list, "datasets": datasets_table},
    "docs/commands.md": {"commands": commands_list},
    "docs/formats.md": {"table": formats_table, "formats": formats_options},
    "docs/datasets.md": {
        "sources": sources_table, "layouts": layouts_table, "keys": keys_table,
        "layouts keys": layouts_keys,
    },
    "docs/representations.md": {"representations": lambda: listed("representations")},
    "docs/transforms.md": {"transforms": lambda: listed("transforms")},
    "docs/loading.md": {"augmentations": lambda: listed("augmentations")},
}  # fmt: skip
# The same for what can be imported with torch only.
TORCH_PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "docs/neurons.md": {
        "neurons": neurons_table, "equations": neurons_equations, "surrogates": surrogates_list,
    },
    "docs/training.md": {
        "losses": losses_table, "methods": methods_table, "schedules": schedules_list,
        "sparsity": sparsity_table,
    },
}  # fmt: skip


def benchmark_table(rows: Path, brief: bool = False) -> str:
    """The rows of a benchmark run, with the machine; `brief` keeps those named in MAIN."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from run import table

    found = json.loads(rows.read_text())
    shown = _main(found["rows"]) if brief else found["rows"]
    return f"{found['machine']}:\n\n{table(shown)}"


def _main(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows that MAIN names; where there are several, the comparison that comes first."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["bar"] and re.search("|".join(MAIN), row["what"]):
            first.setdefault(row["what"], row)
    return list(first.values())


def replaced(text: str, name: str, part: str) -> str:
    """The text with what is between the two marks of that name replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)"
    found, n = re.subn(
        pattern, lambda match: f"{match[1]}{part}\n{match[2]}", text, flags=re.DOTALL
    )
    if n != 1:
        raise ValueError(f"found {n} pairs of marks <!-- {name} -->, expected one")
    return found


def current(page: str, parts: dict[str, Callable[[], str]]) -> str:
    """The text of a page with its generated parts replaced by what the registries hold now."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, make in parts.items():
        text = replaced(text, name, make())
    return text


def write(page: str, parts: dict[str, Callable[[], str]]) -> None:
    (ROOT / page).write_text(current(page, parts), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benchmarks", type=Path, help="rows of a benchmark run")
    rows = parser.parse_args().benchmarks
    for page, parts in PARTS.items():
        write(page, parts)
    dataset_pages.write()
    try:
        import torch  # noqa: F401
    except ImportError:
        sys.stderr.write(f"torch is not installed; unchanged: {', '.join(TORCH_PARTS)}\n")
    else:
        for page, parts in TORCH_PARTS.items():
            write(page, parts)
    if rows:
        write("README.md", {"benchmarks": lambda: benchmark_table(rows, brief=True)})
        write("docs/benchmarks.md", {"benchmarks": lambda: benchmark_table(rows)})


if __name__ == "__main__":
    main()
