"""Which cluster, as whom, in which namespace: as kubectl finds it out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from thunderhead_api.extras import require
from thunderhead_client.errors import WrongKubeconfig

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

DEFAULT_NAMESPACE: Final = "default"
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_REMEDY: Final = "give --kubeconfig, set KUBECONFIG, or ask who runs the cluster for a kubeconfig"


@dataclass(frozen=True, slots=True)
class Connection:
    """A way to one cluster.

    Attributes:
        client: of the official library, which authenticates and transports.
        server: address of the API server.
        namespace: where the user works.
        context: of the kubeconfig; None inside a cluster.
    """

    client: ApiClient
    server: str
    namespace: str
    context: str | None


def connect(
    kubeconfig: str | os.PathLike[str] | None = None,
    context: str | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
) -> Connection:
    """The cluster of ``kubeconfig`` (else of ``KUBECONFIG``, else of ``~/.kube/config``), else the one we are in.

    Args:
        kubeconfig: path of a file.
        context: in it; its current one by default.
        environment: variables of the process.

    Raises:
        WrongKubeconfig: none of these names a cluster that can be asked.
        MissingExtra: the client library is not installed.
    """
    require("a cluster", "client")
    if kubeconfig is not None and not Path(kubeconfig).expanduser().is_file():
        raise WrongKubeconfig("kubeconfig", str(kubeconfig), "is no file", "give the path of a kubeconfig")
    files = _files(kubeconfig, environment)
    if files:
        return _by_files(files, context)
    if "KUBERNETES_SERVICE_HOST" in environment and context is None:
        return _inside()
    where = "of KUBECONFIG" if environment.get("KUBECONFIG") else "~/.kube/config"
    raise WrongKubeconfig("kubeconfig", None, f"there is no file {where}, and this is no pod of a cluster", _REMEDY)


def contexts_of(
    kubeconfig: str | os.PathLike[str] | None = None, *, environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Names of the contexts there are to choose from.

    Raises:
        WrongKubeconfig: a file cannot be read.
    """
    return list(_contexts(_files(kubeconfig, environment))[0])


def _files(kubeconfig: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> list[Path]:
    """Those that are there; as for kubectl, a list in the variable may name some that are not."""
    if kubeconfig is not None:
        return [Path(kubeconfig).expanduser()]
    listed = [word for word in environment.get("KUBECONFIG", "").split(os.pathsep) if word]
    home = Path(environment.get("HOME") or Path.home())
    named = [Path(word).expanduser() for word in listed] or [home / ".kube" / "config"]
    return [path for path in named if path.is_file()]


def _by_files(files: list[Path], context: str | None) -> Connection:
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    shown = os.pathsep.join(map(str, files))
    contexts, current = _contexts(files)
    chosen = context or current
    if chosen not in contexts:
        raise _no_context(shown, context, list(contexts))
    made = client.Configuration()
    try:
        config.load_kube_config(shown, context=chosen, client_configuration=made)  # type: ignore[no-untyped-call]  # the library's
    except (ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise WrongKubeconfig("kubeconfig", shown, f"context {chosen!r} cannot be used: {error}", _REMEDY) from error
    namespace = str(contexts[chosen].get("namespace") or DEFAULT_NAMESPACE)
    return Connection(_client(made), made.host, namespace, chosen)


def _contexts(files: list[Path]) -> tuple[dict[str, Mapping[str, Any]], str | None]:
    """Contexts by name, and the current one: of several files the first that says something counts."""
    contexts: dict[str, Mapping[str, Any]] = {}
    current: str | None = None
    for path in files:
        try:
            read = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            said = " ".join(str(error).split())
            raise WrongKubeconfig("kubeconfig", str(path), f"cannot be read: {said}", _REMEDY) from error
        if read is not None and not isinstance(read, Mapping):
            raise WrongKubeconfig("kubeconfig", str(path), "is no kubeconfig: it holds no fields", _REMEDY)
        for entry in (read or {}).get("contexts") or []:
            contexts.setdefault(str(entry["name"]), entry.get("context") or {})
        current = current or (read or {}).get("current-context") or None
    return contexts, current


def _no_context(shown: str, asked: str | None, there: list[str]) -> WrongKubeconfig:
    listed = ", ".join(there) or "none"
    if asked is None:
        rule, remedy = f"says no current context; there are: {listed}", "choose one with --context"
        return WrongKubeconfig("kubeconfig", shown, rule, remedy)
    return WrongKubeconfig("context", asked, f"is none of {shown}: {listed}", "choose one of them with --context")


def _inside() -> Connection:
    from kubernetes import client, config
    from kubernetes.config import ConfigException

    made = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=made)  # type: ignore[no-untyped-call]  # the library's
        namespace = _OWN_NAMESPACE.read_text(encoding="utf-8").strip()
    except (ConfigException, OSError) as error:
        rule = f"this pod's service account cannot be used: {error}"
        raise WrongKubeconfig("kubeconfig", None, rule, "give the pod a service account, or KUBECONFIG") from error
    return Connection(_client(made), made.host, namespace, None)


def _client(configuration: Any) -> ApiClient:
    from kubernetes import client

    configuration.retries = False  # whether something took effect is for the caller to find out
    return client.ApiClient(configuration)
