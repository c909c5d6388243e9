"""What processes of TPUs must find in the environment, all the same, before the first of them starts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, MutableMapping

from thunderhead.device_kinds import module_of
from thunderhead.distributed.environment import ProcessRank
from thunderhead.exceptions import MisconfigurationException

_BASE_PORT = 8070


def slice_environment(place: ProcessRank, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a slice that are not set yet.

    Args:
        place: of local rank 0.
        environ: where some may be set, and the names of all hosts.

    Raises:
        MisconfigurationException: several nodes, and nobody says which, or says another number of them.
    """
    named = [host for host in environ.get("TPU_WORKER_HOSTNAMES", "").split(",") if host]
    hosts = named or ["localhost"]
    if len(hosts) != place.num_nodes:
        raise MisconfigurationException(
            f"num_nodes={place.num_nodes} on TPUs, but TPU_WORKER_HOSTNAMES={','.join(named)!r}; it must name the "
            "hosts of all nodes, in order and separated by commas"
        )
    port = environ.get("TORCH_TPU_BASE_PORT") or str(_BASE_PORT)
    if not port.isdigit():
        raise MisconfigurationException(f"TORCH_TPU_BASE_PORT={port!r} must be a port's number")
    addresses = ",".join(f"{host}:{int(port) + i}" for host in hosts for i in range(place.local_world_size))
    found = {
        "TORCH_TPU_SLICEBUILDER_ADDRESSES": addresses,
        # Any number will do that each node finds by itself.
        "TORCH_TPU_XPROF_SESSION_ID": str(zlib.crc32(addresses.encode())),
    }
    if named:
        found["TPU_WORKER_ID"] = str(place.node_rank)
        found["NNODES"] = str(place.num_nodes)
    return {name: value for name, value in found.items() if not environ.get(name)}


def prepare_slice(place: ProcessRank, environ: MutableMapping[str, str]) -> None:
    """Set the variables of a slice, in the process that starts all of this node; what is set stays.

    Which chips there are, the package knows: its own preparation adds the topology.

    Raises:
        MisconfigurationException: as ``slice_environment``.
    """
    environ.update(slice_environment(place, environ))
    add_rest = getattr(getattr(module_of("tpu"), "distributed", None), "set_tpu_launch_env", None)
    if add_rest is not None:
        add_rest(nnodes=place.num_nodes, nproc_per_node=place.local_world_size)
