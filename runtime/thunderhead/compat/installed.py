"""Flags of what is installed, under the names that libraries ask Lightning for."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import sys
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch.torch_version import TorchVersion

_REQUIREMENT = ("==", ">=", "<=", "!=", ">", "<")


def package_available(package_name: str) -> bool:
    """Whether a package could be imported."""
    try:
        return importlib.util.find_spec(package_name) is not None
    except ModuleNotFoundError:
        return False


def module_available(module_path: str) -> bool:
    """Whether a module can be imported, with all that it imports."""
    try:
        importlib.import_module(module_path)
    except ImportError:
        return False
    return True


def compare_version(package: str, op: Callable[[Any, Any], bool], version: str, use_base_version: bool = False) -> bool:
    """Whether the installed version of a package compares so; False where it is not installed."""
    found = _version(package)
    return found is not None and op(TorchVersion(found.partition("+")[0] if use_base_version else found), version)


class RequirementCache:
    """Whether a requirement such as ``"torch>=2.5"`` is met: its truth value, looked up once."""

    def __init__(self, requirement: str | None = None, module: str | None = None) -> None:
        self.requirement, self.module = requirement, module

    @cached_property
    def _met(self) -> bool:
        if self.requirement is None:
            return module_available(self.module or "")
        cut = min((self.requirement.find(c) for c in "=<>!" if c in self.requirement), default=len(self.requirement))
        package, rules = self.requirement[:cut].strip(), self.requirement[cut:].split(",")
        found = _version(package)
        if found is None:
            return module_available(self.module) if self.module is not None else package_available(package)
        return all(_holds(found, rule.strip()) for rule in rules if rule.strip())

    def __bool__(self) -> bool:
        return self._met

    def __str__(self) -> str:
        asked = self.requirement or self.module
        return f"Requirement {asked!r} met" if self._met else f"Requirement {asked!r} is not met; install it"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _holds(found: str, rule: str) -> bool:
    sign = next(sign for sign in _REQUIREMENT if rule.startswith(sign))
    compare = {
        "==": operator.eq,
        ">=": operator.ge,
        "<=": operator.le,
        "!=": operator.ne,
        ">": operator.gt,
        "<": operator.lt,
    }
    return bool(compare[sign](TorchVersion(found.partition("+")[0]), rule[len(sign) :].strip()))


def _torch(sign: str, wanted: str) -> bool:
    found = _version("torch")
    return found is not None and _holds(found, f"{sign}{wanted}")


_BITSANDBYTES_AVAILABLE = RequirementCache("bitsandbytes>=0.45.2")
_IS_WINDOWS = sys.platform == "win32"
_IS_INTERACTIVE = hasattr(sys, "ps1") or bool(sys.flags.interactive)
_PYTHON_GREATER_EQUAL_3_11_0 = sys.version_info >= (3, 11)
_NUMPY_AVAILABLE = RequirementCache("numpy")
_OMEGACONF_AVAILABLE = package_available("omegaconf")
_RICH_AVAILABLE = RequirementCache("rich>=10.2.2")
_TORCHVISION_AVAILABLE = RequirementCache("torchvision")
_TORCHMETRICS_GREATER_EQUAL_0_11 = RequirementCache("torchmetrics>=0.11.0")
_TORCHMETRICS_GREATER_EQUAL_1_0_0 = RequirementCache("torchmetrics>=1.0.0")
_TORCH_GREATER_EQUAL_2_0 = _torch(">=", "2.0.0")
_TORCH_GREATER_EQUAL_2_1 = _torch(">=", "2.1.0")
_TORCH_GREATER_EQUAL_2_2 = _torch(">=", "2.2.0")
_TORCH_GREATER_EQUAL_2_3 = _torch(">=", "2.3.0")
_TORCH_GREATER_EQUAL_2_4 = _torch(">=", "2.4.0")
_TORCH_GREATER_EQUAL_2_4_1 = _torch(">=", "2.4.1")
_TORCH_GREATER_EQUAL_2_5 = _torch(">=", "2.5.0")
_TORCH_GREATER_EQUAL_2_6 = _torch(">=", "2.6.0")
_TORCH_GREATER_EQUAL_2_8 = _torch(">=", "2.8.0")
_TORCH_LESS_EQUAL_2_6 = _torch("<=", "2.6.0")
_TORCH_EQUAL_2_4_0 = _torch("==", "2.4.0")
_TORCH_EQUAL_2_8 = _torch(">=", "2.8.0") and _torch("<", "2.9.0")
_TORCH_EQUAL_2_9 = _torch(">=", "2.9.0") and _torch("<", "2.10.0")
