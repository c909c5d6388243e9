"""Which of how many processes this is."""

from __future__ import annotations

import pytest

import thunderhead as th
from thunderhead.distributed.environment import ProcessRank, find_process_rank


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, ProcessRank(0, 1, 0, 1, 0)),
        (
            {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "2"},
            ProcessRank(5, 8, 1, 2, 2),
        ),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, ProcessRank(5, 8, 1, 4, 1)),
        (
            {"RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
            ProcessRank(1, 2, 0, 1, 1),
        ),
        ({"RANK": "1", "WORLD_SIZE": "2"}, ProcessRank(1, 2, 1, 2, 0)),
        ({"WORLD_SIZE": ""}, ProcessRank(0, 1, 0, 1, 0)),
    ],
)
def test_places(environ: dict[str, str], place: ProcessRank) -> None:
    assert find_process_rank(environ) == place


def test_nodes() -> None:
    assert find_process_rank({"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "2"}).num_nodes == 4


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 is outside WORLD_SIZE=2"),
        ({"RANK": "one", "WORLD_SIZE": "2"}, "RANK='one' in the environment is no integer"),
    ],
)
def test_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(th.MisconfigurationException, match=message):
        find_process_rank(environ)
