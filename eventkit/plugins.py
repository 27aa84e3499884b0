"""Plug-ins: modules of other packages that register formats, representations, models and so on.

A package names its module in the entry-point group `eventkit.plugins`:

    [project.entry-points."eventkit.plugins"]
    mycamera = "mycamera.eventkit"

Without a package, `EVENTKIT_PLUGINS=module,module` names modules that Python can import. Importing
the module is all that happens: what it registers is then found by name, like the built-in entries.
"""

import importlib
import os
import sys
import threading
import warnings

GROUP = "eventkit.plugins"
VARIABLE = "EVENTKIT_PLUGINS"

_lock = threading.RLock()
_loading = False  # read again by the thread that loads: a plug-in may look into a registry
_loaded = False


def load() -> None:
    """Import all plug-ins, once in a process; one that fails is named in a warning."""
    global _loading, _loaded
    if _loaded:
        return
    with _lock:
        if _loading or _loaded:
            return
        _loading = True
        try:
            for module in named():
                _import(module)
        finally:
            _loading, _loaded = False, True


def named() -> list[str]:
    """The modules of all plug-ins, those of installed packages first."""
    from importlib.metadata import entry_points  # 20 ms that most commands need not spend

    installed = entry_points(group=GROUP)
    modules = [entry.value.partition(":")[0].strip() for entry in installed]
    modules += os.environ.get(VARIABLE, "").split(",")
    return list(dict.fromkeys(name.strip() for name in modules if name.strip()))


def origin(module: str) -> str:
    """The package that `module` belongs to, with its version where it has one: `mycamera 1.2`."""
    from importlib.metadata import packages_distributions
    from importlib.metadata import version as version_of

    top = module.partition(".")[0]
    if names := packages_distributions().get(top):
        return f"{names[0]} {version_of(names[0])}"
    version = getattr(sys.modules.get(top), "__version__", None)
    return f"{top} {version}" if isinstance(version, str) else top


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever a plug-in does, the command continues
        text = f"plug-in {module!r} failed and is left out: {type(error).__name__}: {error}"
        warnings.warn(text, stacklevel=4)
