"""What tenants may have written into the JSON that the operator reads."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from thunderhead_api.extent import excess
from thunderhead_operator.cluster import decode as module
from thunderhead_operator.cluster.decode import decode, slim
from thunderhead_operator.plan.kinds import Kind

SEED = 20261130
LISTS, MAPS = ("[", "]"), ('{"[": ', "}")


def deep(levels: int, brackets: tuple[str, str] = LISTS) -> str:
    return brackets[0] * levels + "1" + brackets[1] * levels


@pytest.mark.parametrize("brackets", [LISTS, MAPS])
@pytest.mark.parametrize("levels", [50, 250, 950, 3_000, 9_990])
async def test_what_is_too_deep_is_cut_and_the_rest_is_there(levels: int, brackets: tuple[str, str]) -> None:
    text = '{"metadata": {"name": "]}"}, "spec": {"x": @, "y": "{["}, "status": {"attempt": 3}}'
    job = await decode(text.replace("@", deep(levels, brackets)).encode())
    assert (job["metadata"], job["status"], job["spec"]["y"]) == ({"name": "]}"}, {"attempt": 3}, "{[")
    beyond = excess(job)
    assert (beyond is not None) is (levels > 97), "three levels are the text's own"


async def test_cutting_leaves_out_what_is_below_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CUT_BELOW", 4)
    rng = random.Random(SEED)

    def anything(level: int) -> Any:
        kind = rng.random()
        if level > 8 or kind < 0.2:
            return rng.choice([1, "a]}", '[{"', None, "\\", '\\"]', 2.5, "é"])
        if kind < 0.6:
            return [anything(level + 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["a", "]", '{"x', "\\"]) + str(n): anything(level + 1) for n in range(rng.randrange(4))}

    def emptied(value: Any, level: int = 1) -> Any:
        if isinstance(value, dict):
            return {} if level == 4 else {key: emptied(item, level + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [] if level == 4 else [emptied(item, level + 1) for item in value]
        return value

    for number in range(1_000):
        value = {"x": anything(1)}
        cut = json.loads(module._cut(json.dumps(value).encode()))
        assert cut == emptied(value), f"seed {SEED}, case {number}: {value!r}"


async def test_the_loop_goes_on_while_a_megabyte_of_brackets_is_cut() -> None:
    text = ('{"x": [' + ", ".join(["[[]," * 2_000 + "1" + "]" * 2_000] * 100) + "]}").encode()
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0)
            beats += 1

    beating = asyncio.create_task(beat())
    await decode(text)
    beating.cancel()
    assert beats > 3


def test_a_child_is_kept_without_what_nobody_reads() -> None:
    meta = {
        "name": "j-1-0",
        "uid": "u",
        "annotations": {"a": "x" * 200_000, "thunderhead.dev/b": "c"},
        "managedFields": [{"f:a": {}}],
    }
    pod = {
        "metadata": meta,
        "spec": {"nodeName": "n", "containers": [{"name": "trainer", "env": [{"name": "A"}] * 1000}]},
        "status": {"phase": "Running"},
    }
    kept = {"metadata": {"name": "j-1-0", "uid": "u", "annotations": {"thunderhead.dev/b": "c"}}}
    assert slim(pod) == kept
    assert slim(pod, Kind.POD) == kept | {
        "spec": {"nodeName": "n", "containers": [{"name": "trainer"}]},
        "status": {"phase": "Running"},
    }
