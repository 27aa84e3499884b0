"""Downloads from a server that misbehaves in every way: whole and right, or one plain error."""

import datetime
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
import zipfile
import zlib
from email.utils import format_datetime

import pytest
from making import ROOT, eventkit, interrupt, make_events, tree_hash
from serving import cut, plain, serving, whole

import eventkit as ek
from eventkit import datasets
from eventkit.datasets import SourceFile
from eventkit.errors import FetchError, FetchFailed, FetchLocked, OptionError
from eventkit.fetch import fetch
from eventkit.fetch.download import RetryPolicy, check, download, locked

BODY = bytes(range(256)) * 1000
MD5 = hashlib.md5(BODY).hexdigest()


class Waits(list):
    """Remembers the pauses instead of making them."""

    def retry(self, **options) -> RetryPolicy:
        return RetryPolicy(**{"tries": 3, "timeout": 2.0, "sleep": self.append, **options})


@pytest.fixture
def waits():
    return Waits()


def of(*urls, **facts) -> SourceFile:
    return SourceFile("data.bin", urls=urls, **{"md5": MD5, "bytes": len(BODY), **facts})


def got(tmp_path, waits, *answers, **facts):
    """What a download from such a server gives: the bytes, and what the server was asked."""
    with serving(*answers) as server:
        path = download(of(server.url, **facts), tmp_path / "data.bin", retry=waits.retry())
        assert sorted(p.name for p in tmp_path.iterdir()) == ["data.bin"]
        return path.read_bytes(), server.asked


def refused(tmp_path, waits, *answers, error=FetchError, match, **facts):
    """The download fails with such an error; what came is kept under another name."""
    with serving(*answers) as server, pytest.raises(error, match=match) as raised:
        download(of(server.url, **facts), tmp_path / "data.bin", retry=waits.retry())
    assert not (tmp_path / "data.bin").exists()
    return raised.value


def test_a_good_file_arrives_once(tmp_path, waits):
    body, asked = got(tmp_path, waits, whole(BODY))
    assert body == BODY
    assert len(asked) == 1
    assert not waits
    download(of("http://127.0.0.1:1/"), tmp_path / "data.bin")  # is there: nothing is asked


def test_a_cut_connection_continues_where_it_broke(tmp_path, waits):
    answers = [cut(BODY, 100_000), cut(BODY, 50_000), whole(BODY)]
    body, asked = got(tmp_path, waits, *answers)
    assert body == BODY
    assert [a.get("range") for a in asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_every_byte_brings_new_patience(tmp_path, waits):
    assert got(tmp_path, waits, *[cut(BODY, 30_000)] * 12, whole(BODY))[0] == BODY


def test_a_killed_download_continues_later(tmp_path, waits):
    (tmp_path / "data.bin.part").write_bytes(BODY[:77])
    body, asked = got(tmp_path, waits, whole(BODY))
    assert body == BODY
    assert asked[0]["range"] == "bytes=77-"


def test_200_to_a_range_starts_anew(tmp_path, waits):
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    body, _ = got(tmp_path, waits, plain(200, BODY))
    assert body == BODY


def test_a_part_of_another_length_starts_anew(tmp_path, waits):
    (tmp_path / "data.bin.part").write_bytes(BODY + b"too long")
    assert got(tmp_path, waits, whole(BODY))[0] == BODY


def test_a_wrong_part_is_thrown_away(tmp_path, waits):
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    refused(tmp_path, waits, whole(BODY), error=FetchFailed, match=f"expected {MD5}")
    assert got(tmp_path, waits, whole(BODY))[0] == BODY


def test_without_a_checksum_parts_are_joined_only_with_the_same_file(tmp_path, waits):
    facts = {"md5": None, "bytes": None}
    with serving(cut(BODY, 10_000, ETag='"a"'), whole(BODY, ETag='"a"')) as server:
        source = of(server.url, **facts)
        download(source, tmp_path / "data.bin", retry=waits.retry())
        assert server.asked[1]["if-range"] == '"a"'
    other = tmp_path / "other"
    other.mkdir()
    (other / "data.bin.part").write_bytes(b"x" * 1000)  # from nobody knows where
    assert got(other, waits, whole(BODY), **facts)[0] == BODY


def test_without_a_checksum_only_what_was_synced_is_continued(tmp_path, waits):
    """After a power failure the end of a part may be zeros."""
    facts = {"md5": None, "bytes": None}
    with serving(cut(BODY, 10_000, ETag='"a"'), whole(BODY, ETag='"a"')) as server:
        source = of(server.url, **facts)
        with pytest.raises(FetchFailed):
            download(source, tmp_path / "data.bin", retry=waits.retry(tries=1))
        with (tmp_path / "data.bin.part").open("ab") as part:
            part.write(bytes(5000))
        download(source, tmp_path / "data.bin", retry=waits.retry())
        assert server.asked[-1]["range"] == "bytes=10000-"
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_busy_server_does_not_cost_what_came(tmp_path, waits):
    """That it asks to wait 0 s says nothing of the part that is there."""
    busy = plain(503, b"", Retry_After="0")
    answers = [cut(BODY, 100_000), busy, whole(BODY)]
    body, asked = got(tmp_path, waits, *answers, bytes=None)
    assert body == BODY
    assert [a.get("range") for a in asked] == [None, "bytes=100000-", "bytes=100000-"]


def test_a_file_that_became_shorter_is_refused_at_once(tmp_path, waits):
    (tmp_path / "data.bin.part").write_bytes(BODY[:5000])
    told = refused(tmp_path, waits, plain(416, b""), match="has only 5,000 bytes")
    assert "expected 256,000" in str(told)
    assert not waits


def test_an_address_with_a_blank_is_refused_at_once(tmp_path, waits):
    with pytest.raises(FetchError, match="no mirror allows automated download"):
        download(of("http://127.0.0.1:1/a b"), tmp_path / "data.bin", retry=waits.retry())
    assert not waits


def test_a_whole_part_that_was_not_renamed_is_not_asked_for_again(tmp_path, waits):
    (tmp_path / "data.bin.part").write_bytes(BODY)
    assert download(of("http://127.0.0.1:1/"), tmp_path / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (plain(202), "bot wall"),
        (plain(202, x_amzn_waf_action="challenge"), "challenge without the file"),
        (plain(403, x_amzn_waf_action="captcha"), "bot wall"),
        (plain(200, b"<html>click</html>", Content_Type="text/html; charset=utf-8"), "web page"),
        (plain(200), "empty file"),
        (plain(404), "answers 404"),
        (plain(200, BODY + b"more"), "256,004 bytes, expected 256,000"),
        (plain(200, BODY[:-1]), "255,999 bytes, expected 256,000"),
        (plain(302, Location="ftp://127.0.0.1/x"), "redirects from http to ftp"),
        (plain(302, Location="file:///etc/passwd"), "is not allowed"),
        (lambda r: r.send(206, BODY, Content_Range="bytes 5-9/256000"), "sends the range"),
        (
            lambda r: r.send(200, BODY + b"endless" * 1000, length=-1),
            "sends more than the expected",
        ),
    ],
)
def test_what_is_not_the_file_is_not_taken(answer, match, tmp_path, waits):
    error = refused(tmp_path, waits, answer, match=match)
    assert error.exit_code == 4  # no program gets it: by hand
    assert not waits  # and asking again would not help


def test_a_wall_at_one_mirror_leads_to_the_next(tmp_path, waits):
    wrong = plain(200, b"x" * len(BODY))
    with serving(plain(202)) as wall, serving(wrong) as other, serving(whole(BODY)) as good:
        source = of(wall.url, other.url, good.url)
        path = download(source, tmp_path / "data.bin", retry=waits.retry())
    assert path.read_bytes() == BODY


def test_wrong_bytes_are_never_kept(tmp_path, waits):
    wrong = BODY[:-1] + b"\0"
    error = refused(tmp_path, waits, plain(200, wrong), error=FetchFailed, match="its md5 is")
    assert error.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_both_checksums_must_be_right(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(BODY)
    sha = hashlib.sha256(BODY).hexdigest()
    check(of(sha256=sha), path)
    with pytest.raises(FetchFailed, match="its sha256 is"):
        check(of(sha256=sha[::-1]), path)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(status, tmp_path, waits):
    assert got(tmp_path, waits, plain(status, Retry_After="7"), whole(BODY))[0] == BODY
    assert waits == [7.0]


def test_retry_after_may_be_a_date(tmp_path, waits):
    then = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    answers = plain(503, Retry_After=format_datetime(then, usegmt=True)), whole(BODY)
    got(tmp_path, waits, *answers)
    assert 90 < waits[0] <= 100


def test_a_server_that_asks_for_a_day_is_left(tmp_path, waits):
    refused(tmp_path, waits, plain(429, Retry_After="86400"), match="asks to wait 86400 s")
    assert not waits


def test_pauses_grow_with_jitter_and_end(tmp_path, waits):
    error = refused(tmp_path, waits, plain(500), error=FetchFailed, match="answers 500")
    assert "fetch again to resume" in str(error)
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2


def test_nobody_there_is_one_sentence(tmp_path, waits):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/file"
        with pytest.raises(FetchFailed, match=r"cannot be reached .*fetch again to resume"):
            download(of(url), tmp_path / "data.bin", retry=waits.retry())


def test_a_stalled_stream_times_out_and_continues(tmp_path, waits):
    release = []

    def stall(request):
        request.send(200, BODY[:1000], length=len(BODY))
        request.wfile.flush()
        while not release:  # until the client gave up and asked again
            time.sleep(0.01)

    def rest(request):
        release.append(True)
        whole(BODY)(request)

    with serving(stall, rest) as server:
        path = download(of(server.url), tmp_path / "data.bin", retry=waits.retry(timeout=0.2))
        assert server.asked[1]["range"] == "bytes=1000-"
    assert path.read_bytes() == BODY


def test_a_trickle_is_given_up(tmp_path, waits):
    clock = iter(range(0, 10**9, 100))  # 100 s pass between any two looks
    manners = waits.retry(clock=lambda: next(clock), slowest=10_000_000.0, tries=2)
    with serving(whole(BODY)) as server, pytest.raises(FetchFailed, match="bytes in 100 s"):
        download(of(server.url), tmp_path / "data.bin", retry=manners)


def certificate(folder):
    """A certificate for 127.0.0.1 that nobody but the test trusts."""
    x509 = pytest.importorskip("cryptography.x509", reason="makes the certificate")
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "cert.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return pem, context


def test_never_http_for_https_and_never_an_unknown_certificate(
    tmp_path, tmp_path_factory, waits, monkeypatch
):
    pem, context = certificate(tmp_path_factory.mktemp("tls"))
    with serving(whole(BODY)) as other:
        redirect = plain(302, Location=other.url)
        with serving(redirect, whole(BODY), tls=context) as server:
            source = of(server.url)
            with pytest.raises(FetchFailed, match=r"cannot be reached .*CERTIFICATE_VERIFY"):
                download(source, tmp_path / "data.bin", retry=waits.retry(tries=1))
            monkeypatch.setenv("SSL_CERT_FILE", str(pem))
            with pytest.raises(FetchError, match="redirects from https to http"):
                download(source, tmp_path / "data.bin", retry=waits.retry())
            assert not other.asked
            download(source, tmp_path / "data.bin", retry=waits.retry())
    assert (tmp_path / "data.bin").read_bytes() == BODY


def test_a_full_disk_keeps_what_came_and_continues(tmp_path):
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from eventkit.datasets import SourceFile; from eventkit.fetch.download import download\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"download(SourceFile('data.bin', urls=(sys.argv[1],), md5='{MD5}'), Path(sys.argv[2]))\n"
    )
    with serving(whole(BODY)) as server:
        target = tmp_path / "data.bin"
        command = [sys.executable, "-c", program, server.url, str(target)]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert "FetchFailed" in told.stderr
        assert "the disk is full" in told.stderr
        assert (tmp_path / "data.bin.part").stat().st_size == 100_000
        download(of(server.url), target)
        assert server.asked[-1]["range"] == "bytes=100000-"
    assert target.read_bytes() == BODY


def test_a_file_too_large_for_the_disk_is_not_begun(tmp_path, waits):
    huge = 1 << 60
    answer = lambda request: request.send(200, b"x", length=huge)  # noqa: E731
    match = "bytes are free, .* are needed"
    refused(tmp_path, waits, answer, error=FetchFailed, match=match, bytes=None, md5=None)


def test_two_at_once_are_told(tmp_path):
    told = pytest.raises(FetchLocked, match=f"process {os.getpid()}")
    with locked(tmp_path / "x.lock"), told, locked(tmp_path / "x.lock"):
        pass


# A whole dataset, through the command.


def archive(folder):
    """A tiny N-MNIST in one archive, as its publisher would pack it."""
    tree = folder / "tree"
    for split in ("Train", "Test"):
        for digit in ("0", "7"):
            (tree / split / digit).mkdir(parents=True)
            ek.write(tree / split / digit / "00001.bin", make_events(200, seed=int(digit)))
    packed = folder / "digits.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for file in sorted(tree.rglob("*.bin")):
            zipped.write(file, file.relative_to(tree))
    return tree, packed


def described(folder, url, packed, **more):
    """The description of such a dataset."""
    md5 = hashlib.md5(packed.read_bytes()).hexdigest()
    urls = f'urls = ["{url}"]' if url else 'page = "https://example.org/digits"'
    extra = "".join(f"{key} = {value}\n" for key, value in more.items())
    path = folder / "digits.toml"
    path.write_text(
        'title = "Digits"\nlicense = "CC0"\nsize = [34, 34]\nformat = "atis"\n'
        'classes = ["0", "7"]\nsamples = { train = 2, test = 2 }\n'
        f'[[files]]\nname = "digits.zip"\nmd5 = "{md5}"\n{urls}\n{extra}'
        '[layout]\nkind = "class_folders"\nsplits = { train = "Train", test = "Test" }\n'
    )
    return path


def test_fetch_then_convert(run, tmp_path):
    tree, packed = archive(tmp_path)
    root = tmp_path / "data"
    with serving(cut(packed.read_bytes(), 500), whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        told = fetch(toml, root=root, retry=RetryPolicy(sleep=lambda _: None))
        assert told["samples"] == {"train": 2, "test": 2}
        code, out, err = run("fetch", toml, "--root", root)
        assert code == 0, err
        assert "nothing to do" in out
        assert len(server.asked) == 2
    assert tree_hash(root / "Train") == tree_hash(tree / "Train")
    assert not (root / "digits.zip").exists()
    code, out, err = run(
        "convert", toml, "--frames", 4, "--root", root, "--out", tmp_path / "s.zarr"
    )
    assert code == 0, err
    assert "2 train, 2 test" in out


def test_a_file_that_is_described_anew_is_fetched_again(tmp_path):
    _, packed = archive(tmp_path)
    root = tmp_path / "a folder"
    with serving(*[whole(packed.read_bytes())] * 2) as server:
        toml = described(tmp_path, server.url, packed)
        fetch(toml, root=root)
        with zipfile.ZipFile(packed, "a") as zipped:  # its publisher adds a recording
            zipped.write(tmp_path / "tree/Test/0/00001.bin", "Test/0/00002.bin")
        server.answers[:] = [whole(packed.read_bytes())]
        toml = described(tmp_path, server.url, packed)
        assert fetch(toml, root=root)["samples"] == {"train": 2, "test": 3}
        assert fetch(toml, root=root)["note"] == "nothing to do"


def test_checksums_may_be_in_capitals(tmp_path):
    _, packed = archive(tmp_path)
    toml = described(tmp_path, None, packed)
    (source,) = datasets.load(toml).files
    toml.write_text(toml.read_text().replace(source.md5, source.md5.upper()))
    assert datasets.load(toml).files == (source,)


def test_keep_keeps_the_archive(run, tmp_path):
    _, packed = archive(tmp_path)
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        assert run("fetch", toml, "--root", tmp_path / "data", "--keep")[0] == 0
    assert (tmp_path / "data/digits.zip").read_bytes() == packed.read_bytes()


def test_dry_run_does_nothing(run, tmp_path):
    _, packed = archive(tmp_path)
    toml = described(tmp_path, "https://example.org/digits.zip", packed, about=10_000_000)
    code, out, _ = run("fetch", toml, "--root", tmp_path / "data", "--dry-run")
    assert code == 0
    assert "download" in out
    assert "about 10.0 MB" in out
    assert not (tmp_path / "data").exists()


def test_what_only_a_person_can_get_is_exit_code_4_with_the_steps(run, tmp_path):
    _, packed = archive(tmp_path)
    toml = described(tmp_path, None, packed)
    code, _, err = run("fetch", toml, "--root", tmp_path / "data")
    assert code == 4
    for word in ("https://example.org/digits", "digits.zip", "md5", "CC0", "eventkit adopt digits"):
        assert word in err
    (tmp_path / "data").mkdir(exist_ok=True)
    packed.rename(tmp_path / "data/digits.zip")  # where a person may put it
    assert run("fetch", toml, "--root", tmp_path / "data")[0] == 0
    assert (tmp_path / "data/digits.zip").exists()  # and it is not ours to delete


def test_a_dataset_without_addresses_says_where_to_get_it(run, tmp_path):
    code, _, err = run("fetch", "n_imagenet", "--root", tmp_path / "my data")
    assert code == 4
    assert "download its files from https://github.com/82magnolia/n_imagenet" in err
    assert "eventkit adopt n_imagenet FOLDER --root '" in err
    assert "questionnaire" in err


def test_a_wall_everywhere_is_exit_code_4_with_the_steps(run, tmp_path):
    _, packed = archive(tmp_path)
    with serving(plain(202)) as server:
        toml = described(tmp_path, server.url, packed)
        code, _, err = run("fetch", toml, "--root", tmp_path / "data")
    assert code == 4
    assert "bot wall" in err
    assert "eventkit adopt digits" in err
    assert "Traceback" not in err


def test_ctrl_c_keeps_what_came_and_the_next_run_continues(tmp_path):
    _, packed = archive(tmp_path)
    body = packed.read_bytes()
    root = tmp_path / "data"
    process = None

    def stall(request):
        request.send(200, body[:300], length=len(body))
        request.wfile.flush()
        part = root / ".fetch/digits.zip.part"
        while not part.exists() or part.stat().st_size < 300:
            time.sleep(0.01)
        interrupt(process)

    with serving(stall, whole(body)) as server:
        toml = described(tmp_path, server.url, packed)
        command = [sys.executable, "-m", "eventkit", "fetch", str(toml), "--root", str(root)]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "downloaded data is kept; run the same command again" in err
        told = eventkit("fetch", toml, "--root", root)
        assert told.returncode == 0, told.stderr
        assert server.asked[1]["range"] == "bytes=300-"


def test_a_second_fetcher_is_exit_code_5(run, tmp_path):
    _, packed = archive(tmp_path)
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        (tmp_path / "data/.fetch").mkdir(parents=True)
        with locked(tmp_path / "data/.fetch/digits.zip.lock"):
            code, _, err = run("fetch", toml, "--root", tmp_path / "data")
    assert code == 5
    assert "is being fetched by process" in err


def test_unpacking_that_was_killed_is_done_again(tmp_path):
    tree, packed = archive(tmp_path)
    root = tmp_path / "data"
    (root / ".fetch/unpacking-digits.zip/Train/0").mkdir(parents=True)
    (root / "Train/0").mkdir(parents=True)
    (root / "Train/0/00001.bin").write_bytes((tree / "Train/0/00001.bin").read_bytes())
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        (root / ".fetch/receipt.json").write_text('{"other": {"md5": "x"}}')
        fetch(toml, root=root)
    assert tree_hash(root / "Train") == tree_hash(tree / "Train")
    assert not (root / ".fetch/unpacking-digits.zip").exists()


def test_a_file_of_the_user_is_not_replaced(tmp_path):
    _, packed = archive(tmp_path)
    root = tmp_path / "data"
    (root / "Train/0").mkdir(parents=True)
    (root / "Train/0/00001.bin").write_bytes(b"mine")
    (root / ".fetch").mkdir()
    (root / ".fetch/receipt.json").write_text('{"other": {"md5": "x"}}')
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        with pytest.raises(FetchFailed, match="already exists with different content"):
            fetch(toml, root=root)
    assert (root / "Train/0/00001.bin").read_bytes() == b"mine"


def test_unpacking_on_a_full_disk_leaves_nothing_half(tmp_path):
    _, packed = archive(tmp_path)
    toml = described(tmp_path, None, packed)
    root = tmp_path / "data"
    root.mkdir()
    packed.rename(root / "digits.zip")
    program = (
        "import resource, sys; from eventkit.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "sys.exit(main(['fetch', sys.argv[1], '--root', sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", program, str(toml), str(root)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "the disk is full" in told.stderr
    assert not (root / "Train").exists()
    assert fetch(toml, root=root)["samples"] == {"train": 2, "test": 2}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('name = "../x"', "a plain file name"),
        ('name = "x"\ninto = "../up"', "expected a subfolder"),
        ('name = "receipt.json"', "the name receipt.json is reserved"),
        ('name = "x"\nurls = ["ftp://x"]', "expected https://"),
        ('name = "x"\nmd5 = "abc"', "md5 of x is"),
        ('name = "x"\nsize = 3', "unknown key 'size'"),
        ('name = "x"\nbytes = "3"', "bytes is '3'"),
        ('name = "x"\nnested = "deep"', "expected here or folder"),
    ],
)
def test_a_wrong_description_is_said_before_the_download(text, match, tmp_path):
    toml = tmp_path / "d.toml"
    toml.write_text(f'[[files]]\n{text}\n[layout]\nkind = "class_folders"\n')
    with pytest.raises(OptionError, match=match):
        datasets.load(toml)


@pytest.mark.parametrize("name", [".fetch/receipt.json", ".FETCH/receipt.json", ".fetch"])
def test_an_archive_does_not_write_where_fetch_keeps_its_own(name, tmp_path):
    _, packed = archive(tmp_path)
    with zipfile.ZipFile(packed, "a") as zipped:
        zipped.writestr(name, '{"other.zip": {"md5": ""}}')
    root = tmp_path / "data"
    with serving(whole(packed.read_bytes())) as server:
        toml = described(tmp_path, server.url, packed)
        with pytest.raises(
            FetchFailed, match=f"{packed.name}: contains '.(?i:fetch)', a folder reserved"
        ):
            fetch(toml, root=root)
    assert [p.name for p in root.iterdir()] == [".fetch"]
    assert not (root / ".fetch/receipt.json").exists()


def test_crc32_is_a_checksum_too(tmp_path, waits):
    told = {"md5": None, "crc32": f"{zlib.crc32(BODY):08x}"}
    assert got(tmp_path, waits, whole(BODY), **told)[0] == BODY
    (tmp_path / "data.bin").unlink()
    told["crc32"] = "00000001"
    refused(tmp_path, waits, whole(BODY), error=FetchFailed, match="crc32 is", **told)


def test_terms_are_accepted_once_before_anything_is_asked_of_a_server(run, tmp_path):
    ek.write(tmp_path / "1.bin", make_events(50))
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as out:
        out.write(tmp_path / "1.bin", "a/1.bin")
    with serving(whole((tmp_path / "data.zip").read_bytes())) as server:
        toml = tmp_path / "ours.toml"
        toml.write_text(
            f'title = "Ours"\nhomepage = "https://example.org"\nterms = "read them"\n'
            f'classes = ["a"]\n[[files]]\nname = "data.zip"\nurls = ["{server.url}"]\n'
            '[layout]\nkind = "class_folders"\n'
        )
        code, _, err = run("fetch", toml, "--root", tmp_path / "data")
        assert code == 4
        assert "read them (https://example.org); then run eventkit fetch" in err
        assert "--accept-license" in err
        assert not server.asked
        code, _, err = run("fetch", toml, "--root", tmp_path / "data", "--accept-license")
        assert code == 0, err
        assert fetch(toml, root=tmp_path / "data")["note"] == "nothing to do"


ZENODO = "https://zenodo.org/records/4302805/files/a/b.bag?download=1"


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("https://example.org/a", "https://example.org/a"),
        ("figshare:38022171", "https://ndownloader.figshare.com/files/38022171"),
        ("zenodo:4302805/a/b.bag", ZENODO),
        ("doi:10.5281/zenodo.4302805/a/b.bag", ZENODO),
        (
            "gdrive:1lCh2-_x",
            "https://drive.usercontent.google.com/download?id=1lCh2-_x&export=download&confirm=t",
        ),
        (
            "hf://datasets/o/n.x/d/f.zip",
            "https://huggingface.co/datasets/o/n.x/resolve/main/d/f.zip",
        ),
        ("hf://datasets/o/n@v1/f.zip", "https://huggingface.co/datasets/o/n/resolve/v1/f.zip"),
    ],
)
def test_short_addresses_are_those_of_their_hosts(told, address, tmp_path):
    text = f'missing = "all"\n[[files]]\nname = "f.zip"\nurls = ["{told}"]\n'
    (tmp_path / "ours.toml").write_text(text)
    assert datasets.load(tmp_path / "ours.toml").files[0].urls == (address,)


@pytest.mark.parametrize("told", ["figshare:x", "doi:10.1000/182", "ftp://a/b", "hf://o/n"])
def test_addresses_of_no_known_kind_are_said(told, tmp_path):
    text = f'missing = "all"\n[[files]]\nname = "f.zip"\nurls = ["{told}"]\n'
    (tmp_path / "ours.toml").write_text(text)
    with pytest.raises(OptionError, match=f"f.zip has '{told}', expected https://, http://, hf://"):
        datasets.load(tmp_path / "ours.toml")


def test_a_short_address_is_downloaded(tmp_path, waits, monkeypatch):
    with serving(whole(BODY)) as server:
        here = (r"figshare:(\d+)", server.url + "?file={}")
        monkeypatch.setattr("eventkit._address.HOSTS", (here,))
        text = f'[[files]]\nname = "data.bin"\nmd5 = "{MD5}"\nurls = ["figshare:12"]\n'
        (tmp_path / "ours.toml").write_text(f'missing = "all"\n{text}')
        source = datasets.load(tmp_path / "ours.toml").files[0]
        assert source.urls == (f"{server.url}?file=12",)
        path = download(source, tmp_path / "data.bin", retry=waits.retry())
    assert path.read_bytes() == BODY
