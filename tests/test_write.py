"""Every command that writes a file replaces only regular files, and only if asked to."""

import os

import pytest
from making import make_events

import eventkit as ek
from eventkit import OptionError
from eventkit._write import whole


@pytest.fixture
def commands(tmp_path):
    """The command lines that write a file, of which the last word is that file, by name."""
    source = tmp_path / "in.npz"
    ek.write(source, make_events())
    torch = pytest.importorskip("torch")
    from eventkit.models import create
    from eventkit.train.checkpoint import write as save

    torch.manual_seed(0)
    net = create("speck_cnn", num_classes=2, in_shape=(2, 32, 32))
    about = {"model": "speck_cnn", "num_classes": 2, "in_shape": [2, 32, 32], "steps": 4}
    save(tmp_path / "net.safetensors", net.state_dict(), about | {"classes": ["a", "b"]})
    return {
        "translate": ["translate", source],
        "doctor": ["doctor", source, "--format", "npz", "--repair"],
        "view": ["view", source, "--out"],
        "export": ["export", tmp_path / "net.safetensors", "--to", "speck", "--out"],
    }


SUFFIX = {"translate": ".es", "doctor": ".npz", "view": ".png", "export": ".safetensors"}
NAMES = list(SUFFIX)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_replaced_only_if_asked(name, commands, tmp_path, run):
    out = tmp_path / f"out{SUFFIX[name]}"
    out.write_bytes(b"precious")
    code, _, err = run(*commands[name], out)
    assert (code, out.read_bytes()) == (1, b"precious")
    assert "exists; use --overwrite to replace it" in err
    code, _, err = run(*commands[name], out, "--overwrite")
    assert code == 0, err
    assert out.read_bytes() != b"precious"
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling link"])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_regular_file_is_never_replaced(name, kind, commands, tmp_path, run):
    out = tmp_path / f"out{SUFFIX[name]}"
    if kind == "pipe":
        os.mkfifo(out)
    elif kind == "folder":
        out.mkdir()
    else:
        out.symlink_to("/dev/null" if kind == "device" else tmp_path / "nowhere")
    before = out.lstat()
    code, _, err = run(*commands[name], out, "--overwrite")
    assert code == 1
    assert ("is a folder" if kind == "folder" else "is not a regular file") in err
    assert out.lstat().st_ino == before.st_ino
    assert out.lstat().st_mode == before.st_mode


@pytest.mark.parametrize("kind", ["pipe", "file"])
@pytest.mark.parametrize(
    "words", [["convert"], ["merge"], ["subset"]], ids=lambda words: str(words[0])
)
def test_what_is_no_store_is_never_replaced_by_one(words, kind, gestures, tmp_path, run):
    store, out = tmp_path / "a.zarr", tmp_path / "out.zarr"
    convert = ["convert", "dvsgesture", "--root", gestures, "--frames", 2, "--workers", 1]
    run(*convert, "--out", store)
    os.mkfifo(out) if kind == "pipe" else out.write_bytes(b"precious")
    line = {"convert": [*convert, "--out", out], "merge": ["merge", out, store, store]}
    line["subset"] = ["subset", out, store, "--split", "train", "--indices", "0:1"]
    code, _, err = run(*line[words[0]], "--overwrite")
    assert code == 1
    assert "no eventkit store" in err
    assert out.is_fifo() if kind == "pipe" else out.read_bytes() == b"precious"


def test_the_library_does_not_replace_a_pipe_either(tmp_path):
    os.mkfifo(tmp_path / "out.npz")
    with pytest.raises(OptionError, match="is not a regular file"):
        ek.write(tmp_path / "out.npz", make_events())


def test_a_file_that_could_not_be_written_leaves_the_one_before(tmp_path):
    out = tmp_path / "a"
    out.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), whole(out) as part:  # noqa: PT012 the write is in it
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


def test_the_file_is_named_for_which_there_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as found, whole(tmp_path / "none" / "a.npz"):
        pass
    assert found.value.filename == str(tmp_path / "none" / "a.npz")
