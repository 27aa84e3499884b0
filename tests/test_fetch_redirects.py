"""Where a download may be led, and bodies that are not the file."""

import gzip
import hashlib

import pytest
from serving import plain, serving, whole

from eventkit.datasets import SourceFile
from eventkit.errors import FetchError
from eventkit.fetch import http
from eventkit.fetch.download import RetryPolicy, download

BODY = bytes(range(256)) * 40
SUM = {"md5": hashlib.md5(BODY).hexdigest()}
QUICK = RetryPolicy(tries=1, timeout=2.0, sleep=lambda _: None)


def fetched(folder, url, **facts):
    path = download(SourceFile("data.bin", urls=(url,), **facts), folder / "data.bin", retry=QUICK)
    return path.read_bytes()


def elsewhere(url, scheme="http"):
    """The same address by another name of its host."""
    return url.replace("127.0.0.1", "localhost").replace("http", scheme, 1)


@pytest.mark.parametrize("facts", [{}, SUM])
def test_a_redirect_on_the_same_host_is_followed(facts, tmp_path):
    with serving(whole(BODY)) as there, serving(plain(302, Location=there.url)) as here:
        assert fetched(tmp_path, here.url, **facts) == BODY


@pytest.mark.parametrize("facts", [{}, SUM])
def test_a_redirect_to_another_host_without_https_is_refused(facts, tmp_path):
    with serving(whole(BODY)) as there, serving(plain(302, Location=elsewhere(there.url))) as here:
        with pytest.raises(FetchError, match="to another host without https"):
            fetched(tmp_path, here.url, **facts)
        assert not there.asked


def test_a_file_without_a_checksum_comes_only_from_hosts_of_its_addresses(tmp_path):
    with serving(whole(BODY)) as there:
        redirect = plain(302, Location=elsewhere(there.url, "https"))
        with serving(redirect) as here:
            with pytest.raises(FetchError, match="another host, localhost, and the file has no"):
                fetched(tmp_path, here.url)
            # With a checksum, or where the host is that of an address, it is followed: here as far
            # as a server that does not speak TLS.
            with pytest.raises(FetchError, match="cannot be reached") as told:
                fetched(tmp_path, here.url, **SUM)
            assert "another host" not in str(told.value)
            known = SourceFile("data.bin", urls=(here.url, elsewhere(there.url, "https")))
            with pytest.raises(FetchError, match="cannot be reached") as told:
                download(known, tmp_path / "data.bin", retry=QUICK)
            assert "another host" not in str(told.value)


def test_a_redirect_from_a_public_address_into_a_private_network_is_refused(tmp_path, monkeypatch):
    seen = iter([True, False, False])
    monkeypatch.setattr(http, "public", lambda address: next(seen))
    with serving(whole(BODY)) as there, serving(plain(302, Location=there.url)) as here:
        with pytest.raises(FetchError, match=r"into a private network \(127.0.0.1, 127.0.0.1\)"):
            fetched(tmp_path, here.url, **SUM)
        assert not there.asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("::ffff:8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_addresses_of_private_networks_are_known(address, public):
    assert http.public(address) is public


@pytest.mark.parametrize("encoding", ["gzip", "br", "x-gzip"])
def test_a_body_in_an_encoding_that_was_not_asked_for_is_not_taken_for_the_file(encoding, tmp_path):
    answer = plain(200, gzip.compress(BODY), Content_Encoding=encoding)
    with serving(answer) as server:
        with pytest.raises(FetchError, match=f"compressed with {encoding}, which was not"):
            fetched(tmp_path, server.url)
        with pytest.raises(FetchError, match="its md5 is"):
            fetched(tmp_path, server.url, **SUM)
    assert not (tmp_path / "data.bin").exists()


def test_what_is_the_file_is_taken_whatever_its_encoding_is_called(tmp_path):
    """Some servers say of NAME.tar.gz, sent as it is, that it is encoded with gzip."""
    with serving(plain(200, BODY, Content_Encoding="x-gzip")) as server:
        assert fetched(tmp_path, server.url, **SUM) == BODY
    with serving(plain(200, BODY, Content_Encoding="identity")) as server:
        (tmp_path / "data.bin").unlink()
        assert fetched(tmp_path, server.url) == BODY
