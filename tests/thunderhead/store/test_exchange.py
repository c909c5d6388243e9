"""Ranks that talk: reports, announcements, and one reason for all when somebody fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from thunderhead.job.errors import (
    InvalidConfiguration,
    NothingRestorable,
    Stopped,
    StorageRefused,
    StorageUnavailable,
    Superseded,
    UnsupportedState,
)
from thunderhead.store.exchange import Exchange, LocalExchange, PeerFailed, Peers, StoreExchange
from thunderhead.store.objects import Unavailable


@pytest.fixture(params=["local", "tcp", "file"])
def connect(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[Callable[[], Exchange]]:
    """Makes one end of the same exchange for each caller."""
    if request.param == "local":
        local = LocalExchange()
        yield lambda: local
    elif request.param == "file":
        yield lambda: StoreExchange(dist.PrefixStore("execution", dist.FileStore(f"{tmp_path}/store", -1)))
    else:
        server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        yield lambda: StoreExchange(
            dist.PrefixStore("execution", dist.TCPStore("127.0.0.1", server.port, is_master=False))
        )


def test_a_value_is_found_by_the_others(connect: Callable[[], Exchange]) -> None:
    mine, theirs = connect(), connect()
    mine.set("key", b"\0value\xff")
    assert theirs.get("key", 5) == b"\0value\xff"
    assert theirs.get("other", 0) is None
    assert theirs.get("other", 0.02) is None


def test_a_value_set_while_one_waits_is_found(connect: Callable[[], Exchange]) -> None:
    mine, theirs = connect(), connect()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(theirs.get, "key", 60)
        mine.set("key", b"late")
        assert found.result() == b"late"


def test_a_forgotten_value_is_gone(connect: Callable[[], Exchange]) -> None:
    exchange = connect()
    exchange.set("key", b"x")
    exchange.forget("key")
    assert exchange.get("key", 0) is None


def test_reports_and_announcements(connect: Callable[[], Exchange]) -> None:
    def rank(number: int) -> object:
        peers = Peers(connect(), rank=number, world_size=3, timeout_s=60)
        peers.report("topic", {"rank": number})
        if number == 0:
            peers.announce("topic", peers.reports("topic"))
        return peers.announced("topic")

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(rank, range(3))) == [[{"rank": 0}, {"rank": 1}, {"rank": 2}]] * 3


def test_reports_are_forgotten_once_read(connect: Callable[[], Exchange]) -> None:
    exchange = connect()
    peers = Peers(exchange, rank=0, world_size=1)
    peers.report("topic", "long")
    assert peers.reports("topic") == ["long"]
    assert exchange.get("topic/0", 0) is None


REASONS = [
    *(InvalidConfiguration, UnsupportedState, StorageRefused, StorageUnavailable, NothingRestorable, Superseded),
    *(Stopped, Unavailable),
]


@pytest.mark.parametrize("reason", REASONS, ids=lambda reason: reason.__name__)
def test_whoever_waits_ends_with_the_same_reason(reason: type[Exception]) -> None:
    exchange = LocalExchange()
    Peers(exchange, rank=2, world_size=3).fail(reason("no such bucket"))
    for rank, wait in ((0, "reports"), (1, "announced")):
        with pytest.raises(reason, match=r"^no such bucket \(found by rank 2\)$") as caught:
            getattr(Peers(exchange, rank=rank, world_size=3), wait)("topic")
        assert type(caught.value) is reason


def test_any_other_reason_is_a_failed_peer() -> None:
    exchange = LocalExchange()
    Peers(exchange, rank=1, world_size=2).fail(MemoryError("out of it"))
    with pytest.raises(PeerFailed, match="rank 1 failed: MemoryError: out of it"):
        Peers(exchange, rank=0, world_size=2).reports("topic")


def test_the_first_reason_stands() -> None:
    exchange = LocalExchange()
    Peers(exchange, rank=0, world_size=2).fail(Superseded("newer"))
    Peers(exchange, rank=1, world_size=2).fail(StorageRefused("then"))
    Peers(exchange, rank=1, world_size=2).fail(PeerFailed("and then"))
    with pytest.raises(Superseded):
        Peers(exchange, rank=1, world_size=2).announced("topic")


def test_a_failed_peer_is_no_reason_of_ones_own() -> None:
    exchange = LocalExchange()
    Peers(exchange, rank=1, world_size=2).fail(PeerFailed("rank 0 is silent"))
    assert exchange.get("failure", 0) is None


def test_what_is_there_counts_before_a_failure() -> None:
    """An acknowledgement that was given stays given, whatever happened to the giver afterwards."""
    exchange = LocalExchange()
    leader = Peers(exchange, rank=0, world_size=2)
    leader.announce("save/1", {"at": 1.0})
    leader.fail(Superseded("newer"))
    assert Peers(exchange, rank=1, world_size=2).announced("save/1") == {"at": 1.0}


def test_silence_ends() -> None:
    now = [0.0]

    class Silent(LocalExchange):
        def get(self, key: str, timeout_s: float) -> bytes | None:
            now[0] += timeout_s
            return None

    peers = Peers(Silent(), rank=0, world_size=2, timeout_s=100, monotonic=lambda: now[0])
    with pytest.raises(PeerFailed, match=r"rank 0 did not answer within 100 s \(topic/0\)"):
        peers.reports("topic")
    assert 100 < now[0] < 102


def test_a_lost_store_is_a_failed_peer() -> None:
    server: dist.TCPStore | None = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    assert server is not None
    exchange = StoreExchange(dist.TCPStore("127.0.0.1", server.port, is_master=False))
    assert exchange.get("key", 0) is None
    del server
    with pytest.raises(PeerFailed, match="the store that the ranks share is gone"):
        exchange.get("key", 60)


@pytest.mark.parametrize("operation", ["set", "forget"])
def test_writing_to_a_lost_store_is_a_failed_peer(operation: str) -> None:
    server: dist.TCPStore | None = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    assert server is not None
    exchange = StoreExchange(dist.TCPStore("127.0.0.1", server.port, is_master=False))
    del server

    def write() -> None:
        for _ in range(1000):  # the first message into a closed connection may still be sent
            exchange.set("key", b"x") if operation == "set" else exchange.forget("key")

    with pytest.raises(PeerFailed, match="the store that the ranks share is gone"):
        write()


def test_a_lost_store_hides_no_reason_of_ones_own() -> None:
    """The caller raises what it failed of: that rank 0's node died as well must not take its place."""

    class Lost(LocalExchange):
        def get(self, key: str, timeout_s: float) -> bytes | None:
            raise PeerFailed("the store that the ranks share is gone")

    Peers(Lost(), rank=1, world_size=2).fail(StorageRefused("no such bucket"))


def test_a_wait_is_woken_by_a_failure_within_its_slices() -> None:
    exchange = LocalExchange()
    started = threading.Event()

    def wait() -> object:
        started.set()
        return Peers(exchange, rank=1, world_size=2, timeout_s=3600).announced("topic")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        assert started.wait(60)
        Peers(exchange, rank=0, world_size=2).fail(Superseded("newer"))
        with pytest.raises(Superseded):
            waiting.result(60)
