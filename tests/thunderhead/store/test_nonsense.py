"""Manifests that are sealed right and nonsense: damage like any other, for restoring and for verifying."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from store_world import Oracle, Process

from thunderhead.job.parts import parts_of
from thunderhead.store.documents import unseal
from thunderhead.store.exchange import LocalExchange
from thunderhead.store.executions import STEPS, Commit, Execution
from thunderhead.store.job_checkpoints import ExecutionCheckpoints
from thunderhead.store.memory import MemoryStore
from thunderhead.store.objects import Corrupt
from thunderhead.store.settings import CheckpointSettings
from thunderhead.store.shards import read_shard
from thunderhead.store.verified import as_json, as_text, verify

Objects = dict[str, bytes]
SEED = 20261130


@pytest.fixture(scope="module")
def saved() -> tuple[Objects, Oracle]:
    process = Process({}, Oracle(), 1, keep=3)
    process.live(3)
    return process.store.objects, process.oracle


def resealed(document: Any) -> bytes:
    """As a writer would seal it that was wrong: NaN and whatever else it holds included."""
    plain = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
    return plain[:-1] + b',"sha256":"' + hashlib.sha256(plain).hexdigest().encode() + b'"}'


def newest(objects: Objects) -> str:
    return max(key for key in objects if key.startswith(STEPS))


def opened(objects: Objects, oracle: Oracle) -> Commit | None:
    """What the next attempt restores; :class:`Process` compares every bit."""
    return Process(dict(objects), oracle.copy(), 2, keep=3).open()


def shards(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: [shard.update(changes) for shard in document["shards"]] and None


def member(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


def segments(*given: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["lineage"].update(segments=list(given))


NONSENSE: dict[str, Callable[[dict[str, Any]], None]] = {
    "chunks of nothing": shards(chunk_bytes=0),
    "chunks of less": shards(chunk_bytes=-5),
    "huge chunks": shards(bytes=10**18, chunk_bytes=10**18),
    "a negative size": shards(bytes=-1),
    "no size": shards(bytes=0),
    "a size that is no number": shards(bytes=float("nan")),
    "an infinite size": shards(bytes=float("inf")),
    "a size in words": shards(bytes="5"),
    "a size that is true": shards(bytes=True),
    "many chunks of a huge object": lambda document: (
        [
            shard.update(bytes=10**13, chunk_bytes=2**30, chunks_crc64nvme=["0" * 16] * -(-(10**13) // 2**30))
            for shard in document["shards"]
        ]
        and None
    ),
    "a key that leads out": shards(key="../../../../../../etc/passwd"),
    "a key that leads up": shards(key="shards/000001-0000/000000000003/.."),
    "an absolute key": shards(key="/etc/passwd"),
    "a key with a zero byte": shards(key="shards/000001-0000/000000000003/a\0b"),
    "a key of another commit": shards(key="shards/000001-0000/000000000001/n-00000-local.safetensors"),
    "one key for all": shards(key="shards/000001-0000/000000000003/n-00000-local.safetensors"),
    "another content": shards(content="else"),
    "a rank below 0": shards(rank=-1),
    "no shards": member(shards=[]),
    "shards that are none": member(shards=["x", None, 7]),
    "nobody saved it": member(world_size=0),
    "a billion ranks": member(world_size=10**9),
    "two ranks": member(world_size=2),
    "a step in between": member(step=3.0),
    "an unreadable execution": member(epoch="9" * 5000 + "-0"),
    "no moment": member(at=float("nan")),
    "a moment beyond time": member(at=1e300),
    "no position": member(position=None),
    "a lineage of nothing": segments(),
    "a lineage that turns": lambda document: document["lineage"]["segments"].append(
        {"epoch": "000009-0000", "last_step": 1}
    ),
    "a lineage in words": lambda document: document["lineage"].update(
        segments=[{"epoch": "000001-0000", "last_step": "z"}]
    ),
    "no replicated shard": lambda document: document.update(
        shards=[shard for shard in document["shards"] if shard["content"] == "local"]
    ),
    "finite in words": member(finite="yes"),
    "no threads": lambda document: document["environment"].update(threads=0),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_damage(saved: tuple[Objects, Oracle], name: str) -> None:
    objects, oracle = dict(saved[0]), saved[1]
    key = newest(objects)
    document = unseal(objects[key], key)
    NONSENSE[name](document)
    objects[key] = resealed(document)
    found = opened(objects, oracle)
    assert found is not None
    assert found.step == 2, "the one before"
    report = verify(MemoryStore(objects))
    assert [commit.verified for commit in report.commits] == [False, True, True]
    assert "DAMAGED" in as_text("memory:", [report])
    json.loads(as_json([report]))


@pytest.mark.parametrize("deep", [b"[" * 20_000 + b"]" * 20_000, b'{"a":' * 20_000 + b"1" + b"}" * 20_000])
def test_depth_is_damage(saved: tuple[Objects, Oracle], deep: bytes) -> None:
    objects, oracle = dict(saved[0]), saved[1]
    key = newest(objects)
    document = {**unseal(objects[key], key), "position": "HERE"}
    objects[key] = resealed(json.dumps(document, separators=(",", ":")).encode().replace(b'"HERE"', deep))
    found = opened(objects, oracle)
    assert found is not None
    assert found.step == 2
    assert not verify(MemoryStore(objects)).verified


@pytest.mark.parametrize("unix_s", [-1e12, 1e18, float("nan"), float("inf"), float("-inf"), -1.0, 1.8e9])
def test_a_clock_may_be_set_to_anything(unix_s: float) -> None:
    objects: Objects = {}
    for execution, step in ((1, 5), (2, None)):
        checkpoints = ExecutionCheckpoints(
            MemoryStore(objects),
            CheckpointSettings(execution=Execution(execution)),
            LocalExchange(),
            open_store=lambda uri: MemoryStore({}),
            clock=lambda: unix_s,
        )
        restored = checkpoints.open()
        if step is not None:
            checkpoints.save(parts_of({"v": 1}, {}), step=step, position={})
    assert restored is not None
    assert restored.step == 5
    report = verify(MemoryStore(objects))
    assert report.verified
    assert "verified" in as_text("memory:", [report])


@pytest.mark.parametrize("plain", [b"[1,2]", b'"x"}', b"{]", b"null", b"1e999999"])
def test_what_is_sealed_and_no_object_is_damage(plain: bytes) -> None:
    with pytest.raises(Corrupt, match="m: "):
        unseal(resealed(plain), "m")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 20_000 + b"]" * 20_000,
        b"[]",
        b'{"a":{"dtype":"F32","shape":[-1,-4],"data_offsets":[0,16]}}',
        b'{"a":{"dtype":"F32","shape":[1e400],"data_offsets":[0,16]}}',
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,"x"]}}',
        b'{"a":{"dtype":"F32","shape":"no","data_offsets":[0,16]}}',
        b'{"a":[],"__metadata__":[]}',
    ],
)
def test_a_header_of_nonsense_is_damage(header: bytes) -> None:
    body = bytearray(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(Corrupt, match="s: "):
        read_shard(body, "s")


# --- a seeded fuzz ---------------------------------------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 2**31, 2**53, 2**64, -(10**30), 0.5, 1e308, float("nan"), float("inf"), float("-inf")),
    *(True, False, None, "", "0", "x", "..", "/", "\0", "é" * 50, "9" * 5000, [], {}, [[]], {"a": 1}, [None] * 3),
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member of a document."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(document: Any, draw: random.Random) -> Any:
    """A copy in which one or two members are something else, gone, doubled or from elsewhere in it."""
    document = json.loads(json.dumps(document))
    for _ in range(draw.randint(1, 2)):
        every = list(places(document))
        *path, last = draw.choice(every)
        parent = document
        for step in path:
            parent = parent[step]
        action = draw.choice(("value", "value", "value", "drop", "double", "elsewhere"))
        if action == "drop":
            del parent[last]
        elif action == "double" and isinstance(parent, list):
            parent.insert(draw.randrange(len(parent) + 1), parent[last])
        elif action == "elsewhere":
            found = document
            for step in draw.choice(every):
                found = found[step] if isinstance(found, dict | list) else found
            parent[last] = json.loads(json.dumps(found))
        else:
            parent[last] = draw.choice(VALUES)
    return document


@pytest.mark.parametrize("block", range(8))
def test_no_mutation_of_a_manifest_is_more_than_damage(saved: tuple[Objects, Oracle], block: int) -> None:
    """Restored is the newest commit or the one before, to the bit; verifying reports; nothing raises anything else."""
    objects, oracle = saved
    key = newest(objects)
    document = unseal(objects[key], key)
    fallen_back = 0
    for number in range(60):
        seed = SEED + 1000 * block + number
        try:
            body = resealed(mutated(document, random.Random(seed)))
        except (KeyError, IndexError):  # the second mutation of what the first took away
            continue
        branch = {**objects, key: body}
        try:
            found = opened(branch, oracle)
            report = verify(MemoryStore(branch))
            as_text("memory:", [report])
            json.loads(as_json([report]))
        except Exception as error:
            raise AssertionError(f"seed {seed}: {body.decode(errors='replace')[:2000]}") from error
        assert found is not None, f"seed {seed}"
        assert found.step in (2, 3), f"seed {seed}"
        assert report.commits[0].verified == (found.step == 3), f"seed {seed}: restoring and verifying disagree"
        fallen_back += found.step == 2
    assert fallen_back > 10
