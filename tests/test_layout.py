"""The layout: what shadows what, who may import whom, and that no address of a registry is written down."""

from __future__ import annotations

import ast
import operator
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
API = ROOT / "crds/thunderhead_api"
PLAN = ROOT / "operator/thunderhead_operator/plan"

# Spelled apart, so that this file does not hold what it looks for.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "download.pytorch" + ".org",
    "proxy.golang" + ".org",
    "sum.golang" + ".org",
    "registry.npmjs" + ".org",
    "deb.debian" + ".org",
]
TEXT_SUFFIXES = {
    ".py",
    ".txt",
    ".toml",
    ".yaml",
    ".yml",
    ".md",
    ".sh",
    ".mk",
    ".mod",
    ".go",
    ".json",
    ".tpl",
    ".cfg",
    "",
}


def tracked_files() -> list[Path]:
    """Files git knows, or would after an add."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def imported_packages(path: Path) -> set[str]:
    """Top-level names of everything a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; this project writes them in full"
            found.add((node.module or "").partition(".")[0])
    return found


def test_operator_is_the_standard_librarys() -> None:
    assert operator.__file__ is not None
    assert "thunderhead" not in operator.__file__
    assert operator.itemgetter(0)("a") == "a"


@pytest.mark.parametrize("directory", ["operator", "runtime", "crds"])
def test_no_package_where_packages_live(directory: str) -> None:
    """``operator/__init__.py`` would shadow the standard library's module for whoever starts Python in the root."""
    assert not (ROOT / directory / "__init__.py").exists()


def test_root_on_the_path_shadows_nothing() -> None:
    code = "import operator, sys; sys.exit(not hasattr(operator, 'itemgetter'))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_import_contracts_hold() -> None:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_api_needs_pydantic_alone() -> None:
    allowed = set(sys.stdlib_module_names) | {"pydantic", "pydantic_core", "thunderhead_api"}
    extra = {str(path.relative_to(ROOT)): imported_packages(path) - allowed for path in API.rglob("*.py")}
    assert not {path: names for path, names in extra.items() if names}


def test_plan_reads_no_clock() -> None:
    """``datetime`` is a value there; asking it for the time would make a decision depend on more than its arguments."""
    asks = re.compile(r"\b(now|utcnow|today|monotonic|perf_counter)\(\)|\.now\(")
    guilty = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PLAN.rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if asks.search(line)
    ]
    assert not guilty


def test_no_registry_is_written_down() -> None:
    """Who installs decides where from; a lock file with addresses would fix it for everyone."""
    guilty = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked_files()
        if path.suffix in TEXT_SUFFIXES
        for host in REGISTRY_HOSTS
        if host.encode() in path.read_bytes()
    ]
    assert not guilty
