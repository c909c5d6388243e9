"""Programs built from Go modules, kept by the hash of everything that went into them."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .config import KUBE_MODULE, REPOSITORY, cache_root, kubernetes_version
from .locks import locked
from .phases import Say, phase, say
from .shell import MORTAL, run, run_logged

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "kubeadm",
    "kubectl",
)
KEPT_BUILDS = 3


@dataclass(frozen=True, kw_only=True)
class GoProgram:
    """One program: the module directory that pins it, the package to build, the names it is called by."""

    name: str
    module: Path
    package: str
    names: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    """Link-time values of Go string variables, by their full name."""


def _kube() -> GoProgram:
    version = kubernetes_version()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    base = "k8s.io/component-base/version"
    return GoProgram(
        name="kubernetes",
        module=KUBE_MODULE,
        package=".",
        names=COMPONENTS,
        variables={f"{base}.gitVersion": version, f"{base}.gitMajor": major, f"{base}.gitMinor": minor},
    )


def programs() -> dict[str, GoProgram]:
    tools = REPOSITORY / "tools"
    helm = GoProgram(name="helm", module=tools / "helm", package="helm.sh/helm/v4/cmd/helm", names=("helm",))
    versitygw = GoProgram(
        name="versitygw",
        module=tools / "versitygw",
        package="github.com/versity/versitygw/cmd/versitygw",
        names=("versitygw",),
    )
    crdlint = GoProgram(name="crdlint", module=tools / "crdlint", package=".", names=("crdlint",))
    return {program.name: program for program in (_kube(), helm, versitygw, crdlint)}


def build(name: str, tell: Say = say) -> Path:
    """Builds a program unless the cache has it. Returns the directory that holds it under each of its names."""
    program = programs()[name]
    target = cache_root() / "bin" / f"{name}-{_key(program)}"
    if (target / program.names[0]).exists():
        os.utime(target)
        return target
    with locked(f"build-{name}", tell):
        if not (target / program.names[0]).exists():
            with phase(f"building {name}", tell):
                _compile(program, target)
            prune(target.parent, f"{name}-", keep=KEPT_BUILDS)
    return target


def _compile(program: GoProgram, target: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    binary = unfinished / program.name
    run_logged(
        *MORTAL, _go(), "build", "-trimpath", "-ldflags", _ldflags(program), "-o", binary, program.package,
        log=cache_root() / "log" / f"build-{program.name}.log", cwd=program.module, env=_GO_ENV,
    )  # fmt: skip
    for name in program.names:
        if name != program.name:
            (unfinished / name).symlink_to(program.name)
    unfinished.rename(target)


# No version control: git refuses to read a checkout of another user, and with it the build would fail.
_GO_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


@functools.cache
def _go() -> str:
    """The Go on PATH or, where that is too old or missing, one installed for it: see tools/go.sh."""
    return run(REPOSITORY / "tools" / "go.sh").strip()


def _ldflags(program: GoProgram) -> str:
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in program.variables.items())])


def _key(program: GoProgram) -> str:
    sources = sorted(p for p in program.module.iterdir() if p.suffix in (".mod", ".sum", ".go"))
    toolchain = run(_go(), "env", "GOVERSION", cwd=program.module, env=_GO_ENV)
    return digest([program.package, _ldflags(program), toolchain, *(p.read_bytes() for p in sources)])


def digest(parts: Iterable[str | bytes]) -> str:
    """A short hash of the parts and of where each ends."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()[:16]


def prune(directory: Path, prefix: str, *, keep: int, spared: Collection[Path] = ()) -> None:
    """Removes all but the `keep` entries used last and those that are spared."""
    entries = sorted(directory.glob(f"{prefix}*"), key=lambda p: p.stat().st_mtime, reverse=True)
    for entry in entries[keep:]:
        if entry.resolve() not in spared:
            shutil.rmtree(entry)
