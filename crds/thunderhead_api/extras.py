"""What each extra of the distribution brings, and what is said where something of it is lacking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from typing import Any, Final

MODULES: Final[Mapping[str, tuple[str, ...]]] = {
    "operator": ("kopf", "kubernetes", "prometheus_client", "aiohttp"),
    "client": ("kubernetes",),
    "s3": ("boto3", "botocore", "awscrt"),
    "runtime": ("torch", "numpy", "safetensors", "awscrt", "prometheus_client"),
    "loggers": ("tensorboard",),
    "cli": ("jsonargparse", "docstring_parser"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "examples": ("sklearn",),
    "sweep": ("optuna", "matplotlib"),
}
"""Modules by the extra of ``pyproject.toml`` that installs them, the smaller extra first."""


class MissingExtra(ImportError):
    """Something cannot begin without packages that are not installed; the message names them and the extra."""


def require(who: str, *extras: str, find: Callable[[str], object] = find_spec) -> None:
    """See that everything of ``extras`` can be imported, without importing it.

    Args:
        who: what needs them, as the user called it.
        extras: names of extras.
        find: what looks for a module; None where there is none.

    Raises:
        MissingExtra: something of them is not installed.
    """
    lacking = {extra: [name for name in MODULES[extra] if find(name) is None] for extra in extras}
    wanted = [extra for extra in extras if lacking[extra]]
    if wanted:
        raise MissingExtra(_sentence(who, dict.fromkeys(name for extra in wanted for name in lacking[extra]), wanted))


def uses_s3(spec: Mapping[str, Any]) -> bool:
    """Whether a job of this ``spec`` reads or writes checkpoints in S3."""
    checkpoint = spec.get("checkpoint") or {}
    return any(str(checkpoint.get(name)).startswith("s3://") for name in ("uri", "resume"))


def needed(who: str, error: ModuleNotFoundError) -> str | None:
    """What to say where ``who`` could not be imported for a module that an extra installs; None for another module."""
    root = (error.name or "").partition(".")[0]
    extras = [extra for extra, names in MODULES.items() if root in names and extra != "operator"]
    return _sentence(who, [root], extras[:1]) if extras else None


def _sentence(who: str, modules: Iterable[str], extras: list[str]) -> str:
    names = list(modules)
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    installed = "which is not installed" if len(names) == 1 else "which are not installed"
    return f"{who} needs {listed}, {installed}; pip install 'thunderhead[{','.join(extras)}]'"
