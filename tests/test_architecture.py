"""Who may import whom, which library is used where, and a few habits, read from the source."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import eventkit

ROOT = Path(__file__).parents[1]
BASE = {"errors", "plugins", "registry", "units", "_jit", "_platform", "_write"}
DATA = {"events", "formats", "transforms", "representations"}

# Room of the house -> the rooms it may import, beside BASE and itself.
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {
        "events",
        "conversion",
        "formats",
        "representations",
        "store",
        "transforms",
        "windowing",
    },  # for types
    "__main__": {"cli"},
    "errors": set(),
    "plugins": set(),
    "registry": set(),
    "units": set(),
    "_address": set(),
    "_jit": set(),
    "_platform": set(),
    "_write": set(),
    "events": set(),
    "formats": {"events"},
    "boxes": set(),
    "runs": set(),
    "targets": set(),
    "transforms": {"events", "targets"},
    "splits": set(),
    "representations": {"events"},
    "windowing": {"events"},
    "datasets": {"_address"},
    "layouts": {"datasets", "events", "formats", "splits"},
    "fetch": {"datasets", "formats", "layouts"},
    "store": {"events", "splits", "targets"},
    "conversion": DATA | {"datasets", "layouts", "splits", "store", "targets", "windowing"},
    "editing": DATA,
    "doctor": DATA | {"augment", "conversion", "editing", "store"},
    "film": {"events", "viz"},
    "viz": {"events"},
    "pages": DATA | {"boxes", "runs", "store", "viz"},
    "simulate": {"datasets", "events", "formats"},
    "snn": set(),
    "models": {"snn"},
    "augment": {"events"},
    "loader": {
        "augment",
        "datasets",
        "events",
        "representations",
        "store",
        "targets",
        "transforms",
    },
    "train": {"augment", "evaluate", "loader", "models", "runs", "snn", "splits", "store"},
    "evaluate": {"pages", "snn", "viz"},
    "export": {"snn", "store"},
    "cli": DATA
    | {
        "augment",
        "conversion",
        "datasets",
        "doctor",
        "editing",
        "evaluate",
        "export",
        "fetch",
        "layouts",
        "loader",
        "models",
        "pages",
        "simulate",
        "snn",
    }
    | {"__init__", "augment", "film", "runs", "splits", "store", "train", "viz"},
    "datasets_meta": set(),
}

# Library -> the rooms that may import it; a library that is not here may not be used.
LEARNING = {"snn", "models", "loader", "train", "evaluate", "export"}
MAY_USE: dict[str, set[str]] = {
    "numpy": set(MAY_IMPORT) - {"__init__", "__main__", *BASE},
    "numba": {"_jit"},
    "zarr": {"store"},
    "numcodecs": {"store"},
    "google_crc32c": {"formats", "store"},  # readers sum up the file while they decode it
    "h5py": {"formats", "transforms"},
    "pyarrow": {"formats"},
    "distributed": {"conversion"},
    "dask_jobqueue": {"conversion"},
    "bokeh": {"conversion"},
    "lz4": {"formats"},
    "rosbags": {"formats"},
    "ruamel": {"formats"},  # comes with rosbags
    "zstandard": {"formats"},
    "torch": LEARNING,
    "torchvision": {"loader"},  # where installed, its boxes are given
    "safetensors": {"train", "export"},
    "triton": {"snn"},
    "nir": {"export"},
    "onnxscript": {"export"},
    "onnxruntime": {"export"},
    "PIL": {"viz"},
    "av": {"film"},
    "tonic": {"doctor"},  # where installed, its filters are scored beside ours
    "dv_processing": {"doctor"},
    "obstore": {"store"},
    "huggingface_hub": {"store"},
    "click": {"cli"},
    "rich": {"cli"},
}
# What not everybody has or needs is imported inside the functions that use it.
LAZY = {
    "huggingface_hub",
    "av",
    "distributed",
    "dask_jobqueue",
    "bokeh",
    "lz4",
    "torchvision",
    "safetensors",
    "zstandard",
    "PIL",
    "h5py",
    "pyarrow",
    "rosbags",
    "ruamel",
    "obstore",
    "nir",
    "onnxscript",
    "onnxruntime",
}


def room_of(module: str) -> str:
    """`eventkit.store.shard` -> `store`; `eventkit` -> `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def sources() -> Iterator[tuple[str, Path]]:
    """Every module of the package by its installed name, with its file."""
    for folder, package in (
        ("eventkit", "eventkit"),
        ("cli", "eventkit.cli"),
        ("datasets_meta", "eventkit.datasets_meta"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
            if parts == ("__init__",):
                yield package, path
            else:
                yield ".".join([package, *parts]), path


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    """Full names of all modules that a source imports, wherever in it and however spelled."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = node.level - is_package
                package = module.split(".")[: len(module.split(".")) - up]
                base = ".".join([*package, *filter(None, [node.module])])
            if base != "eventkit":
                yield base
                continue
            for alias in node.names:  # a public name stands for the module it lives in
                yield eventkit._HOME.get(alias.name, f"eventkit.{alias.name.strip('_')}")


def trespasses(text: str, module: str, is_package: bool = False) -> list[str]:
    """What a source imports against the rules above, as sentences."""
    room = room_of(module)
    found = []
    for name in imports(ast.parse(text), module, is_package):
        library = name.partition(".")[0]
        if library == "eventkit":
            other = room_of(name)
            if other in MAY_IMPORT and other not in MAY_IMPORT[room] | BASE | {room, "__init__"}:
                found.append(f"{room} imports {other}")
        elif library not in sys.stdlib_module_names and room not in MAY_USE.get(library, set()):
            found.append(f"{room} uses {library}")
    return found


def at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a source that run when it is imported: all but the bodies of functions."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import(child)


SOURCES = list(sources())


@pytest.mark.parametrize(
    "text",
    [
        "from eventkit.representations import represent",
        "from eventkit import representations",
        "from eventkit import represent",
        "from ..representations import represent",
        "from .. import representations",
        "import eventkit.representations.frames",
        "def f():\n    from eventkit.representations.frames import frames",
    ],
)
def test_every_spelling_of_an_import_is_seen(text):
    assert trespasses(text, "eventkit.formats.reading") == ["formats imports representations"]


@pytest.mark.parametrize("text", ["import zarr", "from zarr.codecs import BytesCodec"])
def test_a_library_in_the_wrong_room_is_seen(text):
    assert trespasses(text, "eventkit.viz") == ["viz uses zarr"]
    assert trespasses(text, "eventkit.store", is_package=True) == []


def test_every_module_has_a_room():
    homeless = sorted({room_of(module) for module, _ in SOURCES} - set(MAY_IMPORT))
    assert not homeless, f"say in MAY_IMPORT whom they may import: {homeless}"


@pytest.mark.parametrize(("module", "path"), SOURCES, ids=[module for module, _ in SOURCES])
def test_module_imports_only_what_it_may(module, path):
    text = path.read_text(encoding="utf-8")
    assert not trespasses(text, module, path.name == "__init__.py")


def test_optional_libraries_are_imported_where_they_are_used():
    early = [
        f"{module} imports {name}"
        for module, path in SOURCES
        for node in at_import(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imports(ast.Module([node], []), module, path.name == "__init__.py")
        if name.partition(".")[0] in LAZY
    ]
    assert not early


def test_what_only_some_systems_have_is_used_in_one_place():
    lacking = ("sched_getaffinity", "posix_fadvise", "posix_fallocate", "copy_file_range", "fcntl")
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for module, path in SOURCES
        for name in lacking
        if module != "eventkit._platform" and name in path.read_text(encoding="utf-8")
    ]
    assert not found


def test_commands_name_their_siblings_relatively():
    absolute = [
        path.name
        for path in (ROOT / "cli").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("eventkit.cli")
    ]
    assert not absolute  # in a checkout they would be loaded twice under two names


def test_no_bare_except_no_bare_exception_no_print():
    found = []
    for module, path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                found.append(f"{where} catches everything")
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call | ast.Name):
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if isinstance(raised, ast.Name) and raised.id in ("Exception", "BaseException"):
                    found.append(f"{where} raises {raised.id}")
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
                and room_of(module) != "cli"
            ):
                found.append(f"{where} prints")
    assert not found
