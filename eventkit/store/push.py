"""A store as a dataset repository on the Hugging Face Hub, with a card.

    README.md            the card
    NAME.zarr/...        the files of the store; its root document, zarr.json, comes last

Until the root document is there, no reader takes what is there for a store.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from eventkit.errors import MissingExtra, OptionError, StoreDamaged, StoreError
from eventkit.store import Store
from eventkit.store.storage import is_remote
from eventkit.store.verify import verify

ROOT = "zarr.json"
CARD = "README.md"
LICENCES = {
    "CC0": "cc0-1.0",
    "CC BY 4.0": "cc-by-4.0",
    "CC BY-SA 4.0": "cc-by-sa-4.0",
    "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
    "MIT": "mit",
    "GPL-3.0": "gpl-3.0",
}
FEW = 100  # classes that a card lists


class Hub(Protocol):
    """What is used of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, **options: Any) -> Any: ...

    def list_repo_files(self, repo_id: str, **options: Any) -> list[str]: ...

    def hf_hub_download(self, repo_id: str, filename: str, **options: Any) -> str: ...

    def upload_folder(self, **options: Any) -> Any: ...

    def upload_file(self, **options: Any) -> Any: ...


def push(
    store: str | Path,
    address: str,
    *,
    private: bool = False,
    overwrite: bool = False,
    dry_run: bool = False,
    api: Hub | None = None,
) -> dict[str, Any]:
    """Upload a store to hf://OWNER/NAME, a dataset repository that is made if it is missing.

    Every byte is compared with its checksum first. Files that the Hub has already are not sent
    again, so an interrupted upload continues when it is called again. `api` is an
    `huggingface_hub.HfApi` (by default, one with the token of the machine).

    Returns the keys store, repository, url, files, bytes, card (its text) and note. Raises
    OptionError for another address, StoreDamaged for a damaged store, StoreError if another store
    of that name is there (unless `overwrite`) or the Hub refuses; MissingExtra without the library.
    """
    match = re.fullmatch(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)/?", address)
    if match is None:
        raise OptionError(f"{address!r} is no repository on the Hub, expected hf://OWNER/NAME")
    repository = match[1]
    if is_remote(store):
        raise StoreError(f"{store}: is not on a disk; copy it to one first")
    opened = Store(store)
    folder = Path(str(opened.path)).resolve()
    name = folder.name if folder.name.endswith(".zarr") else f"{folder.name}.zarr"
    if problems := verify(store):
        raise StoreDamaged(
            f"{store}: has {len(problems)} damaged files, the first {problems[0]}; repair it first"
        )
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    made = {
        "store": str(store),
        "repository": repository,
        "url": f"https://huggingface.co/datasets/{repository}",
        "files": len(sizes),
        "bytes": sum(sizes),
        "card": card(opened, repository, name),
        "note": "",
    }
    if dry_run:
        return made
    hub = api if api is not None else _api()
    try:
        _upload(hub, opened, folder, name, made, private=private, overwrite=overwrite)
    except OSError as error:
        text = str(error).strip().partition("\n")[0]
        raise StoreError(
            f"{address}: the Hub refused or was not reached ({text}); log in with `hf auth login`, "
            "see that you may write there, and call it again: it continues"
        ) from error
    return made


def _api() -> Hub:
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError:
        raise MissingExtra("uploading to the Hub needs huggingface_hub", "hub") from None
    return cast(Hub, HfApi())


def _upload(
    hub: Hub,
    opened: Store,
    folder: Path,
    name: str,
    made: dict[str, Any],
    *,
    private: bool,
    overwrite: bool,
) -> None:
    where = {"repo_id": made["repository"], "repo_type": "dataset"}
    hub.create_repo(made["repository"], repo_type="dataset", private=private, exist_ok=True)
    there = hub.list_repo_files(made["repository"], repo_type="dataset")
    if f"{name}/{ROOT}" in there:
        if _digest(hub, made["repository"], f"{name}/{ROOT}") == opened.attributes["digest"]:
            made["note"] = "nothing to do: the store is already there"
            return
        if not overwrite:
            raise StoreError(
                f"{made['url']}: has another store {name}", hint="{overwrite} replaces it"
            )
    say: Callable[[str], dict[str, str]] = lambda what: {"commit_message": f"{what} of {name}"}  # noqa: E731
    # What is left of another store goes with this commit, its root document too.
    hub.upload_folder(
        folder_path=str(folder),
        path_in_repo=name,
        ignore_patterns=[ROOT],
        delete_patterns=["*"],
        **where,
        **say("Files"),
    )
    text = made["card"].encode()
    hub.upload_file(path_or_fileobj=text, path_in_repo=CARD, **where, **say("Card"))
    root, place = str(folder / ROOT), f"{name}/{ROOT}"
    hub.upload_file(path_or_fileobj=root, path_in_repo=place, **where, **say("Root document"))


def _digest(hub: Hub, repository: str, name: str) -> str | None:
    """The digest of the store that is there, if its root document can be read."""
    path = hub.hf_hub_download(repository, name, repo_type="dataset")
    try:
        return str(json.loads(Path(path).read_bytes())["attributes"]["eventkit"]["digest"])
    except (ValueError, KeyError, TypeError):
        return None


def card(store: Store, repository: str, name: str) -> str:
    """The dataset card: what the store holds, where it is from, and how it is read."""
    told = store.attributes
    licence = LICENCES.get(told["license"], "other" if told["license"] else "unknown")
    head = [
        "---",
        f"pretty_name: {json.dumps(_line(told['title']))}",
        f"license: {licence}",
        "tags: [event-camera, neuromorphic, zarr, eventkit]",
        "---",
    ]
    rows = [f"| {split} | {len(part):,} |" for split, part in store.items()]
    first, version = store.splits[0], f"eventkit {told['versions'].get('eventkit', '')}"
    parts = [
        "\n".join(head),
        f"# {_line(told['title'])}, {_line(told['represent'])}",
        f"Made from {_line(told['dataset'])} by `{_line(told['command'])}` ({_line(version)}).",
        "\n".join(["| split | samples |", "|---|--:|", *rows]),
        f"Sensor or frame: {store.size[0]} x {store.size[1]}.",
    ]
    if store.classes:
        named = [f"{i} {_line(each)}" for i, each in enumerate(store.classes[:FEW])]
        more = [f"and {len(store.classes) - FEW:,} more"] if len(store.classes) > FEW else []
        parts.append(f"Classes: {'; '.join([*named, *more])}.")
    parts.append(
        "```python\nfrom huggingface_hub import snapshot_download\n"
        f'folder = snapshot_download("{repository}", repo_type="dataset")\n\n'
        "import eventkit as ek\n"
        f"store = ek.open(folder + {json.dumps('/' + name)})\n"
        f"store[{json.dumps(first)}].labels\n```\n\n"
        "It is standard Zarr v3; other Zarr libraries read it too."
    )
    parts += [f"Licence of the recordings: {_line(told['license']) or 'not stated'}."]
    parts += [f"Please cite: {_line(told['cite'])}."] if told["cite"] else []
    if told["warnings"]:
        parts.append("Notes of the conversion:\n\n" + "\n".join(
            f"- {_line(note)}" for note in told["warnings"]
        ))  # fmt: skip
    parts.append(f"Digest of the store: `{told['digest']}`.")
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    """Text of a store as one line without markup."""
    plain = "".join(c if c.isprintable() else " " for c in str(text))
    return re.sub(r"[<>`|\[\]]", lambda match: f"&#{ord(match[0])};", plain)
