"""Parts of a checkpoint: what is taken, what comes back, and that it is stored as in the first release."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from store_job import Job, just_open
from store_samples import manifest

from thunderhead.job.errors import InvalidConfiguration, UnsupportedState
from thunderhead.job.link import Restored
from thunderhead.job.parts import LOCAL, REPLICATED, Kind, Part, Parts, parts_of
from thunderhead.store.checksums import crc64nvme
from thunderhead.store.documents import seal, unseal
from thunderhead.store.exchange import LocalExchange
from thunderhead.store.executions import Execution
from thunderhead.store.job_checkpoints import ExecutionCheckpoints
from thunderhead.store.manifest import Manifest
from thunderhead.store.memory import MemoryStore
from thunderhead.store.objects import Corrupt
from thunderhead.store.settings import CheckpointSettings

FOLDER = "shards/000001-0000/000000000003"
MANIFEST = "steps/000000000003/000001-0000.json"
LINEAGE = {"segments": [{"epoch": "000001-0000", "last_step": None}], "origin": None}
WEIGHT, RNG = torch.tensor([1.0, -2.5]), torch.arange(3, dtype=torch.uint8)
# The tree around the tensors, as it stands in a shard's header.
TREES = {
    "replicated": {
        "state_dict": {"weight": {"name": "state_dict/weight", "dtype": "float32", "shape": [2], "$": "tensor"}},
        "position": {"step": 3},
    },
    "local": {"rng": {"name": "rng", "dtype": "uint8", "shape": [3], "$": "tensor"}, "threads": 1},
}


def opened(store: MemoryStore, attempt: int) -> tuple[ExecutionCheckpoints, Restored | None]:
    settings = CheckpointSettings(execution=Execution(attempt))

    def no_other_store(uri: str) -> Any:
        raise AssertionError(uri)

    checkpoints = ExecutionCheckpoints(
        store, settings, LocalExchange(), open_store=no_other_store, clock=lambda: 7.0, nonce="n"
    )
    return checkpoints, checkpoints.open()


def sealed(document: dict[str, Any]) -> bytes:
    plain = json.dumps(document, separators=(",", ":")).encode()
    return plain[:-1] + b',"sha256":"' + hashlib.sha256(plain).hexdigest().encode() + b'"}'


def of_the_first_release() -> dict[str, bytes]:
    """A store as the first release left it, written by hand with the library of safetensors."""
    bodies = {
        "replicated": safetensors.torch.save(
            {"state_dict/weight": WEIGHT}, {"tree": json.dumps(TREES["replicated"], separators=(",", ":"))}
        ),
        "local": safetensors.torch.save({"rng": RNG}, {"tree": json.dumps(TREES["local"], separators=(",", ":"))}),
    }
    shards = []
    for content, body in bodies.items():
        checksum = f"{crc64nvme(body):016x}"
        shards.append(
            {
                "key": f"{FOLDER}/n-00000-{content}.safetensors",
                "content": content,
                "rank": 0,
                "bytes": len(body),
                "crc64nvme": checksum,
                "chunk_bytes": 16777216,
                "chunks_crc64nvme": [checksum],
            }
        )
    who = {"epoch": "000001-0000", "nonce": "n"}
    return {
        "epochs/000001-0000/claim": sealed({**who, "at": 7.0, "world_size": 1}),
        "epochs/000001-0000/base": sealed({**who, "at": 7.0, "base": None, "lineage": LINEAGE}),
        "epochs/000001-0000/committed": sealed({**who, "at": 7.0, "step": 3}),
        **{f"{FOLDER}/n-00000-{content}.safetensors": body for content, body in bodies.items()},
        MANIFEST: sealed(
            {
                "format": "thunderhead job checkpoint",
                "version": 1,
                "epoch": "000001-0000",
                "step": 3,
                "nonce": "n",
                "world_size": 1,
                "at": 7.0,
                "position": {"step": 3},
                "lineage": LINEAGE,
                "environment": {"torch": "2", "numpy": "2", "python": "3", "cpu": "AVX2", "threads": 1},
                "shards": shards,
            }
        ),
    }


def test_a_checkpoint_of_the_first_release_comes_back_in_parts() -> None:
    _, restored = opened(MemoryStore(of_the_first_release()), 2)
    assert restored is not None
    assert {name: part.kind for name, part in restored.parts.items()} == {
        "replicated": Kind.REPLICATED,
        "local": Kind.LOCAL,
    }
    replicated, local = restored.parts[REPLICATED].tree, restored.parts[LOCAL].tree
    assert torch.equal(replicated["state_dict"].pop("weight"), WEIGHT)
    assert replicated == {"state_dict": {}, "position": {"step": 3}}
    assert torch.equal(local.pop("rng"), RNG)
    assert local == {"threads": 1}


def test_the_first_release_reads_what_is_stored() -> None:
    """It knows these keys, these members and these two contents, and takes anything else for damage."""
    store, before = MemoryStore({}), of_the_first_release()
    checkpoints, _ = opened(store, 1)
    replicated = {"state_dict": {"weight": WEIGHT}, "position": {"step": 3}}
    checkpoints.save(parts_of(replicated, {"rng": RNG, "threads": 1}), step=3, position={"step": 3})
    assert store.objects.keys() == before.keys()
    then, now = (json.loads(objects[MANIFEST]) for objects in (before, store.objects))
    assert now.keys() - {"finite"} == then.keys()
    for old, new in zip(then["shards"], now["shards"], strict=True):
        assert new.keys() == old.keys()
        assert [new[key] for key in ("key", "content", "rank")] == [old[key] for key in ("key", "content", "rank")]
        body = store.objects[new["key"]]
        header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
        assert json.loads(header["__metadata__"]["tree"]).keys() == TREES[new["content"]].keys()
        mine, theirs = safetensors.torch.load(bytes(body)), safetensors.torch.load(before[old["key"]])
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def named(world: int) -> Callable[[ExecutionCheckpoints, int], None]:
    def live(checkpoints: ExecutionCheckpoints, rank: int) -> None:
        checkpoints.open()
        parts = {
            **parts_of({"step": 1}, {"rank": rank}),
            "frozen": Part({f"w{index}": torch.full((50,), float(index)) for index in range(4)}, Kind.REPLICATED),
            "cache": Part([torch.tensor(rank), world], Kind.LOCAL),
        }
        checkpoints.check(parts)
        checkpoints.save(parts, step=1, position={})

    return live


def test_parts_of_any_name_come_back_as_they_were(tmp_path: Path) -> None:
    job = Job(f"file://{tmp_path}")
    assert job.attempt(1, 3, named(3), min_share_bytes=300) == [None] * 3
    for rank, restored in enumerate(job.attempt(2, 3, just_open)):
        assert restored.parts.keys() == {"replicated", "local", "frozen", "cache"}
        assert restored.parts["replicated"] == Part({"step": 1}, Kind.REPLICATED)
        assert restored.parts["local"] == Part({"rank": rank}, Kind.LOCAL)
        assert restored.parts["cache"] == Part([torch.tensor(rank), 3], Kind.LOCAL)
        assert restored.parts["frozen"].kind is Kind.REPLICATED
        frozen = restored.parts["frozen"].tree
        assert [(name, frozen[name].tolist()) for name in frozen] == [(f"w{i}", [float(i)] * 50) for i in range(4)]
    for restored in job.attempt(3, 2, just_open):
        assert restored.parts.keys() == {"replicated", "frozen"}, "a local part belongs to a rank of as many"


SHARDED = Part({"weight": torch.zeros(2)}, Kind.SHARDED)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({**parts_of({}, {}), "model": SHARDED}, "part 'model' .* is sharded, and sharded saves are not built yet"),
        ({REPLICATED: SHARDED, LOCAL: Part({}, Kind.LOCAL)}, "part 'replicated' .* is sharded"),
        ({REPLICATED: Part({}, Kind.REPLICATED)}, "no part 'local'"),
        ({LOCAL: Part({}, Kind.LOCAL)}, "no part 'replicated'"),
        ({**parts_of({}, {}), "../a": Part({}, Kind.LOCAL)}, r"is named '\.\./a'; take lower-case letters"),
        ({**parts_of({}, {}), "": Part({}, Kind.LOCAL)}, "is named ''"),
        ({**parts_of({}, {}), "sharded": Part({}, Kind.LOCAL)}, "a local part .* is named 'sharded'"),
        ({REPLICATED: Part({}, Kind.LOCAL), LOCAL: Part({}, Kind.LOCAL)}, "a local part .* is named 'replicated'"),
    ],
)
def test_what_no_checkpoint_can_hold_is_refused_before_anything_is_stored(parts: Parts, says: str) -> None:
    store = MemoryStore({})
    checkpoints, _ = opened(store, 1)
    with pytest.raises(InvalidConfiguration, match=says):
        checkpoints.check(parts)
    with pytest.raises(InvalidConfiguration, match=says):
        checkpoints.save(parts, step=1, position={})
    assert not [key for key in store.objects if key.startswith(("shards/", "steps/"))]


def test_a_part_is_named_where_its_state_cannot_be_saved() -> None:
    checkpoints, _ = opened(MemoryStore({}), 1)
    with pytest.raises(UnsupportedState, match=r"cache\['hook'\]"):
        checkpoints.check({**parts_of({}, {}), "cache": Part({"hook": print}, Kind.LOCAL)})


@pytest.mark.parametrize(
    ("shard", "changes", "says"),
    [
        (0, {"content": "else"}, "content is malformed: 'else'"),
        (0, {"content": "else", "kind": "sharded"}, "content is malformed: 'else'"),
        (0, {"content": "else", "kind": 3}, "kind is malformed"),
        (0, {"kind": "local"}, "content is malformed: 'replicated'"),
        (1, {"content": "sharded", "kind": "local"}, "content is malformed: 'sharded'"),
        (1, {"content": "A/b", "kind": "local"}, "content is malformed: 'A/b'"),
        (0, {"content": "else", "kind": "replicated"}, "rank 0's share of part 'replicated'"),
        (1, {"content": "else", "kind": "local"}, "1 local shards for 2 ranks"),
        (3, {"content": "else", "kind": "local"}, "1 else shards for 2 ranks"),
        (3, {"content": "else", "kind": "replicated", "rank": 1}, "rank 0's share of part 'else'"),
    ],
)
def test_parts_that_no_save_writes_are_damage(shard: int, changes: dict[str, Any], says: str) -> None:
    document = unseal(manifest().to_bytes(), "m")
    if shard == len(document["shards"]):
        key = document["shards"][0]["key"].replace("replicated", "else")
        document["shards"].append({**document["shards"][0], "key": key})
    document["shards"][shard].update(changes)
    with pytest.raises(Corrupt, match=says):
        Manifest.from_bytes(seal(document), "m")


def test_one_part_of_two_kinds_is_damage() -> None:
    document = unseal(manifest().to_bytes(), "m")
    for kind, rank in (("replicated", 0), ("local", 0), ("local", 1)):
        key = document["shards"][0]["key"].replace("replicated", f"{kind}-else-{rank}")
        document["shards"].append({**document["shards"][0], "key": key, "content": "else", "kind": kind, "rank": rank})
    with pytest.raises(Corrupt, match="part 'else' is of two kinds"):
        Manifest.from_bytes(seal(document), "m")
