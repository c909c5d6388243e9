"""Which cluster is meant: as kubectl finds it out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cl_cluster import write_kubeconfig

from thunderhead_client.connection import connect, contexts_of
from thunderhead_client.errors import WrongKubeconfig

A, B = "http://127.0.0.1:1", "http://127.0.0.1:2"


def renamed(path: Path, context: str, **more: object) -> Path:
    config = json.loads(path.read_text())
    config["contexts"][0]["name"] = context
    config["current-context"] = context
    for name in ("clusters", "users"):
        config[name][0]["name"] = config["contexts"][0]["context"][name[:-1]] = context
    path.write_text(json.dumps(config | more))
    return path


def test_a_file_that_is_named_comes_first(tmp_path: Path) -> None:
    a, b = write_kubeconfig(tmp_path / "a", A, "one"), write_kubeconfig(tmp_path / "b", B, "two")
    way = connect(a, environment={"KUBECONFIG": str(b)})
    assert (way.server, way.namespace, way.context) == (A, "one", "c")


def test_of_several_files_the_first_that_says_something_counts(tmp_path: Path) -> None:
    a = renamed(write_kubeconfig(tmp_path / "a", A, "one"), "a")
    b = renamed(write_kubeconfig(tmp_path / "b", B, "two"), "b")
    environment = {"KUBECONFIG": f"{tmp_path / 'nosuch'}:{a}:{b}"}
    assert connect(environment=environment).server == A
    assert connect(context="b", environment=environment).server == B
    assert connect(context="b", environment=environment).namespace == "two"
    assert contexts_of(environment=environment) == ["a", "b"]


def test_the_file_in_the_home_directory_is_the_last(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    write_kubeconfig(tmp_path / ".kube/config", A, "")
    way = connect(environment={"HOME": str(tmp_path)})
    assert (way.server, way.namespace) == (A, "default")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "is no kubeconfig: it holds no fields"),
        ("{", "cannot be read"),
        ("{}", "says no current context; there are: none; choose one with --context"),
        ('{"current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "y"}}]}', "cannot be used"),
    ],
)
def test_a_file_that_names_none_is_no_traceback(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(WrongKubeconfig, match=said):
        connect(tmp_path / "a")


def test_without_a_file_and_outside_of_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(
        WrongKubeconfig, match=r"no file ~/\.kube/config, and this is no pod of a cluster; give --kubeconf"
    ):
        connect(environment={"HOME": str(tmp_path)})


def test_inside_a_cluster_without_a_service_account(tmp_path: Path) -> None:
    inside = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(WrongKubeconfig, match="service account cannot be used"):
        connect(environment=inside)
