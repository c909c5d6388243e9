"""kubectl and helm, whose own files stay with the cluster's and out of the user's home."""

from __future__ import annotations

from pathlib import Path

from .shell import run


def kubectl(program: Path, kubeconfig: Path, *words: str | Path, stdin: str = "", timeout_s: float = 120) -> str:
    """Runs kubectl with the rights of a kubeconfig. Raises CommandError."""
    options = ("--kubeconfig", kubeconfig, "--cache-dir", kubeconfig.parent / "kubectl")
    return run(program, *options, *words, stdin=stdin.encode(), timeout_s=timeout_s)


def helm(program: Path, kubeconfig: Path, *words: str | Path, timeout_s: float = 300) -> str:
    """Runs helm with the rights of a kubeconfig. Raises CommandError."""
    home = kubeconfig.parent / "helm"
    places = {name: str(home / name.lower()) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME")}
    env = {"KUBECONFIG": str(kubeconfig), "KUBECACHEDIR": str(kubeconfig.parent / "kubectl"), **places}
    return run(program, *words, env=env, timeout_s=timeout_s)
