"""The bridge that the nodes hang on. Routes and the nodes' links vanish with it."""

from __future__ import annotations

import json

from .config import ClusterError, Config, bridge_name
from .shell import CommandError, run, succeeds

OCTETS = range(244, 254)


def free_octet() -> int:
    """The first 10.<octet>.0.0/16 that no interface and no route of this machine touches."""
    routes = json.loads(run("ip", "-j", "-4", "route", "show", "table", "all"))
    addresses = json.loads(run("ip", "-j", "-4", "addr"))
    taken = {str(route["dst"]) for route in routes}
    taken |= {info["local"] for link in addresses for info in link.get("addr_info", [])}
    for octet in OCTETS:
        if not any(address.startswith(f"10.{octet}.") for address in taken):
            return octet
    raise ClusterError(f"no network 10.x.0.0/16 with x in {OCTETS.start}..{OCTETS.stop - 1} is free; see `ip route`")


def create_bridge(config: Config) -> None:
    run("ip", "link", "add", config.bridge, "type", "bridge")
    run("ip", "addr", "add", f"{config.host_ip}/24", "dev", config.bridge)
    run("ip", "link", "set", config.bridge, "up")
    for node in config.node_names:
        run("ip", "route", "add", config.node_pods(node), "via", config.node_ip(node))


def remove_all(name: str) -> None:
    """Removes the bridge of the cluster `name` and every cable on it, whatever is there of them."""
    bridge = bridge_name(name)
    links = {link["ifname"] for link in json.loads(run("ip", "-j", "link"))}
    for link in sorted(links):
        if link == bridge or link.startswith(f"{bridge}-"):
            _delete(link)


def connect_node(config: Config, node: str, init_pid: int) -> None:
    """Puts a cable between the bridge and the network namespace of the node's init process."""
    link = config.node_link(node)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(init_pid))
    run("ip", "link", "set", link, "master", config.bridge, "up")


def disconnect_node(config: Config, node: str) -> None:
    """Removes the node's cable. The kernel would too, but at a time of its own after the namespace has gone."""
    _delete(config.node_link(node))


def _delete(link: str) -> None:
    """Removes a link, unless it is gone by then: the kernel takes a cable away some time after its namespace."""
    try:
        run("ip", "link", "del", link)
    except CommandError:
        if succeeds(run, "ip", "link", "show", link):
            raise


def set_cable(config: Config, node: str, *, plugged: bool) -> None:
    run("ip", "link", "set", config.node_link(node), "up" if plugged else "down")
