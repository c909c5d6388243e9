"""Names, addresses and the choice of a cluster."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from e2e.cluster.config import Config, chosen_name, kubernetes_version

INTERFACE_NAME_MAX = 15


def test_every_node_has_addresses_of_its_own() -> None:
    config = Config(name="local", octet=244)
    nodes = {config.node_ip(node) for node in config.node_names}
    ranges = [ip_network(config.node_pods(node)) for node in config.node_names]
    assert len(nodes) == 3
    assert config.host_ip not in nodes
    assert all(ip_address(address) in ip_network(config.pod_range) for address in nodes)
    assert not any(one.overlaps(two) for one in ranges for two in ranges if one is not two)
    assert not any(ip_address(address) in pods for address in nodes for pods in ranges)


def test_interfaces_fit_the_kernel() -> None:
    config = Config(name="a" * 9, octet=244, nodes=200)
    assert max(len(config.node_link(node)) for node in config.node_names) <= INTERFACE_NAME_MAX


@pytest.mark.parametrize("name", ["", "Local", "with-dash", "a" * 10, "../x"])
def test_a_name_must_fit(name: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        Config(name=name, octet=244)


def test_an_unknown_node_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'node-4' does not exist; nodes are node-1, node-2, node-3"):
        Config(name="local", octet=244).node_ip("node-4")


@pytest.mark.parametrize(("variable", "name"), [(None, "local"), ("mine", "mine")])
def test_the_shell_chooses_the_cluster(variable: str | None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THUNDERHEAD_CLUSTER", raising=False)
    if variable is not None:
        monkeypatch.setenv("THUNDERHEAD_CLUSTER", variable)
    assert chosen_name() == name


def test_the_version_is_that_of_the_module() -> None:
    major, minor, _ = kubernetes_version().split(".")
    assert (major, int(minor) >= 36) == ("v1", True)
