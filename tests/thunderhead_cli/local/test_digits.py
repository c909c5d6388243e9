"""The whole line on one machine: real agents, the trainer, DDP over gloo, committed checkpoints, one lost pod."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[3] / "examples/digits"
COMMAND = Path(sys.executable).parent / "thunderhead"
STEPS = 92  # 4 epochs of 23
SMALLER = {"max_epochs: 20": "max_epochs: 4", "everySteps: 20": "everySteps: 10"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    runs: Path
    output: str

    @property
    def job(self) -> dict[str, Any]:
        job: dict[str, Any] = json.loads((self.runs / "digits/1/job.json").read_text())
        return job

    @property
    def ledger(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.job["status"]["ledger"]
        return entries

    @property
    def checkpoints(self) -> Path:
        return self.runs / "digits/1/checkpoints"

    def final_bits(self) -> dict[tuple[str, int | None], bytes]:
        """Every tensor of the last checkpoint: weights, optimizer, random state of every rank.

        Without the files' headers, which also name directories of the run.
        """
        manifest = max(self.checkpoints.glob(f"default/digits/*/steps/{STEPS:012d}/*.json"))
        shards = json.loads(manifest.read_text())["shards"]
        return {(shard["content"], shard["rank"]): _tensors(manifest.parents[2] / shard["key"]) for shard in shards}


def _tensors(path: Path) -> bytes:
    """The data of a safetensors file: what follows its header, whose length stands in the first 8 bytes."""
    body = path.read_bytes()
    return body[8 + int.from_bytes(body[:8], "little") :]


def train(runs: Path, *options: str) -> Finished:
    text = (EXAMPLE / "job.yaml").read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    runs.mkdir()
    (runs / "job.yaml").write_text(text)
    (runs / "digits.py").write_text((EXAMPLE / "digits.py").read_text())
    command = [COMMAND, "run", "-f", runs / "job.yaml", "--runs", runs, "--progress-seconds", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=runs, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Finished(runs, done.stdout)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return train(tmp_path_factory.mktemp("undisturbed") / "runs")


@pytest.fixture(scope="module")
def bereft(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return train(tmp_path_factory.mktemp("bereft") / "runs", "--kill-pod", "1@35")


def test_pod_was_lost_and_the_job_completed(bereft: Finished) -> None:
    first, last = bereft.ledger
    assert (first["cause"], first["culprit"]["pod"], first["culprit"]["signal"]) == (
        "PodFailed",
        "digits-1-1",
        "SIGKILL",
    )
    assert first["secondsLost"] > 0
    assert last["cause"] == "Completed"
    assert 30 <= last["firstStep"] <= first["lastStep"]
    assert last["lastStep"] == STEPS


def test_recovered_run_equals_the_undisturbed_bit_for_bit(undisturbed: Finished, bereft: Finished) -> None:
    assert len(undisturbed.ledger) == 1, undisturbed.output
    expected = undisturbed.final_bits()
    assert {content for content, _ in expected} == {"replicated", "local"}
    assert bereft.final_bits() == expected


def test_it_learns(undisturbed: Finished) -> None:
    assert undisturbed.job["status"]["progress"]["metrics"]["val_acc"] > 0.85


def test_checkpoints_verify_and_a_damaged_one_is_found(bereft: Finished) -> None:
    command = [COMMAND, "verify-checkpoints", bereft.checkpoints.as_uri()]
    whole = subprocess.run(command, capture_output=True, text=True, check=False)
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert whole.stdout.count("verified") >= 3
    shard = max(bereft.checkpoints.glob("default/digits/*/shards/*/*/*.safetensors"), key=lambda p: p.stat().st_size)
    body = bytearray(shard.read_bytes())
    body[len(body) // 2] ^= 1
    shard.write_bytes(body)
    damaged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert damaged.returncode == 1
    assert "DAMAGED" in damaged.stdout


def test_what_the_user_reads(bereft: Finished) -> None:
    for said in (
        "--kill-pod 1@35: SIGKILL to every process of pod digits-1-1",
        "attempt 2 starts",
        "Ledger of digits",
        "seconds to recover",
        "steps lost",
        "goodput",
        bereft.checkpoints.as_uri(),
    ):
        assert said in bereft.output
