"""The packages of the wheel; all else about it is in pyproject.toml.

cli/ and datasets_meta/ sit beside the library in the repository but install inside it, as
eventkit.cli and eventkit.datasets_meta, so that the wheel owns one top-level name. A table in
pyproject.toml could only say this by naming every package.
"""

from setuptools import find_packages, setup

INSIDE = ("cli", "datasets_meta")
beside = [
    f"eventkit.{name}" for name in find_packages(include=[p for n in INSIDE for p in (n, f"{n}.*")])
]

setup(
    packages=[*find_packages(include=["eventkit", "eventkit.*"]), *beside],
    package_dir={"eventkit": "eventkit", **{f"eventkit.{name}": name for name in INSIDE}},
)
