"""What the launchers put into the environment of processes on TPUs."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

import thunderhead as th
from thunderhead.distributed import tpu_slice
from thunderhead.distributed.environment import ProcessRank
from thunderhead.distributed.launch import ScriptLauncher
from thunderhead.distributed.process_launch import ProcessLauncher
from thunderhead.distributed.tpu_slice import prepare_slice, slice_environment

ONE = ProcessRank(world_size=2, local_world_size=2)
SECOND = ProcessRank(rank=2, world_size=4, local_world_size=2, node_rank=1)
TWO_HOSTS = {"TPU_WORKER_HOSTNAMES": "a,b"}


@pytest.mark.parametrize(
    ("place", "environ", "addresses", "others"),
    [
        (ONE, {}, "localhost:8070,localhost:8071", {}),
        (ONE, {"TORCH_TPU_BASE_PORT": "9000"}, "localhost:9000,localhost:9001", {}),
        (ONE, {"TPU_WORKER_HOSTNAMES": "a"}, "a:8070,a:8071", {"TPU_WORKER_ID": "0", "NNODES": "1"}),
        (SECOND, TWO_HOSTS, "a:8070,a:8071,b:8070,b:8071", {"TPU_WORKER_ID": "1", "NNODES": "2"}),
        (SECOND, {**TWO_HOSTS, "TPU_WORKER_ID": "1"}, "a:8070,a:8071,b:8070,b:8071", {"NNODES": "2"}),
    ],
)
def test_one_list_for_all(place: ProcessRank, environ: dict[str, str], addresses: str, others: dict[str, str]) -> None:
    found = slice_environment(place, environ)
    assert found.pop("TORCH_TPU_SLICEBUILDER_ADDRESSES") == addresses
    assert re.fullmatch(r"[0-9]+", found.pop("TORCH_TPU_XPROF_SESSION_ID"))
    assert found == others


def test_nodes_agree_without_talking() -> None:
    first = ProcessRank(world_size=4, local_world_size=2)
    one, two = slice_environment(first, TWO_HOSTS), slice_environment(SECOND, TWO_HOSTS)
    assert {name for name in one if one[name] != two[name]} == {"TPU_WORKER_ID"}


@pytest.mark.parametrize("environ", [{}, {"TPU_WORKER_HOSTNAMES": "a"}, {"TPU_WORKER_HOSTNAMES": "a,b,c"}])
def test_hosts_that_nobody_names(environ: dict[str, str]) -> None:
    with pytest.raises(th.MisconfigurationException, match="num_nodes=2 on TPUs, but TPU_WORKER_HOSTNAMES="):
        slice_environment(SECOND, environ)


def test_a_port_that_is_none() -> None:
    with pytest.raises(th.MisconfigurationException, match="TORCH_TPU_BASE_PORT='x' must be a port"):
        slice_environment(ONE, {"TORCH_TPU_BASE_PORT": "x"})


def test_what_is_set_stays_and_the_package_adds_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    environ = {"TORCH_TPU_XPROF_SESSION_ID": "7"}

    def add_rest(**sizes: int) -> None:
        asked.append((sizes, dict(environ)))

    package = SimpleNamespace(distributed=SimpleNamespace(set_tpu_launch_env=add_rest))
    monkeypatch.setattr(tpu_slice, "module_of", lambda name: package)
    prepare_slice(ONE, environ)
    assert environ["TORCH_TPU_XPROF_SESSION_ID"] == "7"
    assert asked == [({"nnodes": 1, "nproc_per_node": 2}, environ)]


class Prepared(Exception):
    pass


def _prepare(place: ProcessRank, environ: Any) -> None:
    raise Prepared


def _work(place: ProcessRank, payload: Any) -> None: ...


def test_it_is_done_before_anybody_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [__file__])
    script = ScriptLauncher(ONE, prepare=_prepare)
    with pytest.raises(Prepared):
        script.launch()
    assert not script.processes
    processes = ProcessLauncher(ONE, "spawn", prepare=_prepare)
    with pytest.raises(Prepared):
        processes.launch(_work, None)
    assert not processes.processes
