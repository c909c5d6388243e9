"""The verifier that people and the end-to-end tests run."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
from store_world import Oracle, Process

from thunderhead.job.errors import Superseded
from thunderhead.store.files import FileStore
from thunderhead.store.verified import verify
from thunderhead.store.verify import main

NEWEST = "steps/000000000003/000002-0000.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two jobs. The first was taken over by attempt 2 after step 2, and a late commit of attempt 1 does not count."""
    first, second = Process({}, Oracle(), 1), Process({}, Oracle(), 1)
    first.live(2)
    following = Process(first.store.objects, first.oracle, 2, keep=3)
    following.live(1)
    with pytest.raises(Superseded):
        first.save()
    second.live(1)
    for uid, process in (("uid-1", first), ("uid-2", second)):
        store = FileStore(tmp_path / "ns/job" / uid)
        for key, body in process.store.objects.items():
            store.put(key, body)
    return tmp_path


def test_every_commit_that_counts_is_verified(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"file://{root}"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in printed if "verified" in line] == [
        ["step", "3", "execution", "000002-0000"],
        ["step", "2", "execution", "000001-0000"],
        ["step", "1", "execution", "000001-0000"],
        ["step", "1", "execution", "000001-0000"],
    ]
    ignored = f"file://{root}/ns/job/uid-1/steps/000000000003/000001-0000.json"
    assert printed[4] == f"  ignored (superseded execution): {ignored}"


def test_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"file://{root}/ns/job/uid-1/{NEWEST}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"] is True
    (job,) = found["jobs"]
    assert job["uri"] == f"file://{root}/ns/job/uid-1"
    assert job["verified"] is True
    assert len(job["ignored"]) == 1
    newest = job["commits"][0]
    assert newest["uri"] == f"file://{root}/ns/job/uid-1/{NEWEST}"
    assert {name: newest[name] for name in ("step", "epoch", "world_size", "shards", "problem", "at")} == {
        "step": 3,
        "epoch": "000002-0000",
        "world_size": 1,
        "shards": 2,
        "problem": None,
        "at": 1e9,
    }
    assert newest["bytes"] == sum(info.size for info in FileStore(root / "ns/job/uid-1/shards/000002-0000").scan())


@pytest.mark.parametrize("part", ["shards/000001-0000/000000000002", NEWEST])
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damage_is_found_and_named(root: Path, part: str, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = FileStore(root / "ns/job/uid-1")
    key = next(info.key for info in store.scan() if info.key.startswith(part))
    body = store.get(key)
    store.delete(key)
    if how != "gone":
        store.put(key, body[:-1] if how == "cut" else bytes([body[0] ^ 1]) + body[1:])
    report = verify(store)
    if key == NEWEST and how == "gone":
        assert report.verified, "a commit whose manifest is gone is no commit"
        return
    damaged = [commit for commit in report.commits if not commit.verified]
    assert [commit.step for commit in damaged] == [3 if key == NEWEST else 2]
    assert key in (damaged[0].problem or "")
    assert main([f"file://{root}"]) == 1
    assert "DAMAGED: " in capsys.readouterr().out


def test_no_checkpoint_is_not_a_verified_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"file://{tmp_path}/nothing"]) == 1
    assert "no job checkpoints under" in capsys.readouterr().out
    opened = Process({}, Oracle(), 1)
    opened.open()
    for key, body in opened.store.objects.items():
        FileStore(tmp_path).put(key, body)
    assert main([f"file://{tmp_path}"]) == 1
    assert "no commit counts" in capsys.readouterr().out
    assert main([f"file://{tmp_path}", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["verified"] is False


def test_a_store_that_cannot_be_read_is_told(s3_endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["s3://no-such-bucket", "--endpoint", s3_endpoint]) == 1
    assert "create the bucket" in capsys.readouterr().err
    assert main(["nonsense"]) == 2
    assert "write s3://bucket/prefix" in capsys.readouterr().err


def test_it_runs_as_a_module(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["verify", f"file://{root}"])
    monkeypatch.delitem(sys.modules, "thunderhead.store.verify")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("thunderhead.store.verify", run_name="__main__")
    assert ended.value.code == 0
    assert "verified" in capsys.readouterr().out
