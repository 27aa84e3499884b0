"""An object store behind a network that fails: a finished job or an error, never a wrong store."""

import random
from functools import partial

import numpy as np
import pytest
from faulty import FAULTS, Request, proxy
from making import make_gestures
from test_remote import contents, s3, service  # noqa: F401

import eventkit as ek
from eventkit.conversion import convert
from eventkit.errors import StoreError, StoreLocked, StoreUnreachable
from eventkit.store import objects, remote
from eventkit.store.merge import merge, subset
from eventkit.store.remote import Lock
from eventkit.store.storage import at
from eventkit.store.verify import verify

pytest.importorskip("obstore", reason="needs the extra cloud")
LOSING = [Request.refused, Request.reset_before, Request.reset_after, Request.cut]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return make_gestures(tmp_path_factory.mktemp("raw"), recordings=2, windows=2, events=200)


@pytest.fixture(scope="module")
def local(raw, tmp_path_factory):
    """The store that must come out, and one that is a part of it."""
    folder = tmp_path_factory.mktemp("local")
    to(folder / "x.zarr", raw)
    return folder / "x.zarr"


@pytest.fixture
def network(s3, service, monkeypatch):  # noqa: F811
    """The proxy; a client tries again at once, and three times only."""
    from datetime import timedelta

    import obstore.store

    patient = {
        "max_retries": 4,
        "backoff": {"init_backoff": timedelta(milliseconds=1),
                    "max_backoff": timedelta(milliseconds=5), "base": 2},
    }  # fmt: skip
    whole = obstore.store.from_url
    monkeypatch.setattr(obstore.store, "from_url", partial(whole, retry_config=patient))
    with proxy(service) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        objects._client.cache_clear()  # it has another address
        server.bucket = s3
        yield server
    objects._client.cache_clear()


def to(out, raw, **options):
    return convert("dvsgesture", root=raw, out=out, represent="frames:n=2", workers=2, **options)


def some(fault, share, seed=0):
    """The fault at a share of all requests."""
    rng = random.Random(seed)
    return lambda request: fault if rng.random() < share else None


def chain(network, raw, local):
    """Convert, verify, read, cut and merge; what must come out of each."""
    out, parts = f"{network.bucket}/x.zarr", []
    yield "convert", lambda: to(out, raw)
    assert contents(at(out)) == contents(at(local))
    yield "verify", lambda: verify(out) == [] or pytest.fail("verify finds damage")
    frames = ek.open(local)["train"].frames[:]
    yield "read", lambda: np.testing.assert_array_equal(ek.open(out)["train"].frames[:], frames)
    for split in ("train", "test"):
        parts.append(f"{network.bucket}/{split}.zarr")
        yield "subset", partial(subset, parts[-1], out, splits=[split])
    yield "merge", partial(merge, f"{network.bucket}/merged.zarr", parts)
    merged = ek.open(f"{network.bucket}/merged.zarr")
    np.testing.assert_array_equal(merged["train"].frames[:], frames)
    assert verify(f"{network.bucket}/merged.zarr", deep=True) == []


def passes(work):
    """Whether work ends; a failure is one sentence about the object store."""
    try:
        work()
    except StoreError as error:
        found = str(error)
    else:
        return True
    assert "s3://" in found
    assert "\n" not in found
    return False


def under(network, faults, raw, local):
    """Every step under faults until it ends; without them it ends at once."""
    for _, work in chain(network, raw, local):
        for fault in faults:
            network.fault = fault
            if passes(work):
                break
        network.fault = lambda request: None
        work()


def test_answers_that_are_lost_change_no_byte(network, raw, local):
    """What was asked is done, and asked again."""
    network.fault = some(Request.reset_after, 0.1)
    to(f"{network.bucket}/x.zarr", raw)
    assert network.faults > 10
    network.fault = lambda request: None
    assert contents(at(f"{network.bucket}/x.zarr")) == contents(at(local))


@pytest.mark.slow
@pytest.mark.attack
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_at_random_leaves_no_wrong_store(fault, share, seed, network, raw, local):
    under(network, [some(fault, share, seed + n) for n in range(0, 30, 10)], raw, local)
    assert network.faults > 10


def outage(fault, after):
    """The fault at all requests but the first ones."""
    left = [after]

    def choose(request):
        left[0] -= 1
        return fault if left[0] < 0 else None

    return choose


@pytest.mark.slow
@pytest.mark.attack
@pytest.mark.parametrize("fault", LOSING, ids=lambda fault: fault.__name__)
def test_an_outage_at_any_time_ends_with_a_sentence_and_is_continued(fault, network, raw, local):
    out, wanted = f"{network.bucket}/x.zarr", contents(at(local))
    ended = 0
    for after in (0, 3, 9, 30, 90, 150, 170, 180):
        network.fault = outage(fault, after)
        ended += not passes(lambda: to(out, raw))
        network.fault = lambda request: None
        if at(out).head() is not None and (at(out) / "zarr.json").head() is not None:
            assert verify(out) == []
        to(out, raw)
        assert contents(at(out)) == wanted
        assert not list(at(out).with_name("x.zarr.building").files())
        at(out).remove()
    assert ended > 4


@pytest.mark.parametrize("deep", [pytest.param(False, marks=pytest.mark.slow), True])
def test_what_cannot_be_fetched_is_not_called_damage(deep, network, raw):
    out = f"{network.bucket}/x.zarr"
    to(out, raw)
    for part in ("integrity/train/shard_crc/c.0", "train/labels/c.0", "train/frames/c."):
        seen = []

        def fault(request, part=part, seen=seen):
            if request.command == "GET" and part in request.path:
                seen.append(request.path)
                return Request.refused
            return None

        network.fault = fault
        with pytest.raises(StoreUnreachable, match=r"Internal ?(Server )?Error"):
            verify(out, deep=deep)
        assert seen
    network.fault = lambda request: None
    assert verify(out, deep=deep) == []


def test_a_lock_whose_answer_is_lost_is_still_ours(network, monkeypatch):
    """The service has done what was asked; the second try then finds it done."""
    monkeypatch.setattr(remote, "RENEWED", 0.01)
    lock = Lock(at(f"{network.bucket}/lock"), at(f"{network.bucket}/clock"))
    turns = []

    def fault(request):
        if request.command == "PUT":
            turns.append(request)
            return Request.reset_after if len(turns) % 2 else None
        return None

    network.fault = fault
    with lock.held():
        while len(turns) < 8:
            lock.check()
        with pytest.raises(StoreLocked):
            Lock(lock.place, lock.clock)._take()
    network.fault = lambda request: None
    assert lock.place.head() is None
