"""Extras: the table agrees with what is declared, and whoever needs one says so before it does anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest

from thunderhead_api.extras import MODULES, MissingExtra, needed, require, uses_s3
from thunderhead_api.treaty import Env

ROOT = Path(__file__).parents[2]
IMPORTED_AS = {"prometheus-client": "prometheus_client", "scikit-learn": "sklearn", "mlflow-skinny": "mlflow"}
BROUGHT = {"[crt]": "awscrt", "[signatures": "docstring_parser"}
JOB = ROOT / "examples/digits/job.yaml"


def declared(extra: str) -> set[str]:
    """Modules that the packages of an extra are imported by."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][extra]
    names = [re.split("[<>=[]", package)[0] for package in wanted]
    brought = {module for package in wanted for mark, module in BROUGHT.items() if mark in package}
    return {IMPORTED_AS.get(name, name) for name in names} | brought


@pytest.mark.parametrize("extra", MODULES)
def test_the_table_is_that_of_the_distribution(extra: str) -> None:
    assert set(MODULES[extra]) == declared(extra)


def test_every_package_and_every_extra_is_named() -> None:
    with pytest.raises(MissingExtra) as refused:
        require("this", "runtime", "s3", find=lambda name: None if name in ("torch", "numpy", "boto3") else name)
    assert str(refused.value) == (
        "this needs torch, numpy and boto3, which are not installed; pip install 'thunderhead[runtime,s3]'"
    )
    require("this", *MODULES, find=lambda name: name)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("torch.nn", "X needs torch, which is not installed; pip install 'thunderhead[runtime]'"),
        ("awscrt", "X needs awscrt, which is not installed; pip install 'thunderhead[s3]'"),
        ("mine", None),
    ],
)
def test_an_import_that_failed_is_explained_where_an_extra_would_have_helped(module: str, said: str | None) -> None:
    assert needed("X", ModuleNotFoundError(f"No module named {module!r}", name=module)) == said


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [
        ({"uri": "s3://a/b"}, True),
        ({"uri": "file:///a", "resume": "s3://a"}, True),
        ({"uri": "file:///s3", "resume": "Auto"}, False),
        (None, False),
    ],
)
def test_who_uses_s3(checkpoint: dict[str, str] | None, expected: bool) -> None:
    assert uses_s3({"checkpoint": checkpoint}) is expected


HIDDEN = """
import importlib.machinery, runpy, sys
finder = importlib.machinery.PathFinder
found = finder.find_spec.__func__
hidden = sys.argv.pop(1).split(",")
finder.find_spec = classmethod(lambda cls, name, *rest: None if name in hidden else found(cls, name, *rest))
if sys.argv[1] == "-m":
    del sys.argv[1]
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
else:
    sys.argv[0] = "thunderhead"
    from thunderhead_cli.main import main
    main()
"""


def without(hidden: Iterable[str], *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """An entry point in an environment that lacks some packages."""
    command = [sys.executable, "-c", HIDDEN, ",".join(hidden), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **variables})


@pytest.mark.parametrize(
    ("hidden", "words", "said"),
    [
        (["kopf", "aiohttp"], ["-m", "thunderhead_operator", "--runtime-image", "x"], "'thunderhead[operator]'"),
        (["torch", "prometheus_client"], ["-m", "thunderhead_agent"], "'thunderhead[runtime]'"),
        (["torch", "numpy"], ["run", "-f", str(JOB)], "thunderhead run needs torch and numpy, which are not"),
        (["boto3"], ["run", "-f", str(JOB), "--checkpoint-uri", "job"], "'thunderhead[s3]'"),
        (
            ["awscrt"],
            ["verify-checkpoints", "file:///tmp"],
            "thunderhead verify-checkpoints needs awscrt, which is not",
        ),
        (["boto3"], ["verify-checkpoints", "s3://bucket"], "'thunderhead[s3]'"),
        (
            ["awscrt", "boto3", "botocore", "torch"],
            ["-m", "thunderhead.store.verify", "file:///tmp"],
            "python -m thunderhead.store.verify needs awscrt, which is not",
        ),
        (["boto3"], ["-m", "thunderhead.store.verify", "s3://bucket"], "'thunderhead[s3]'"),
    ],
)
def test_every_entry_point_says_what_it_lacks(tmp_path: Path, hidden: list[str], words: list[str], said: str) -> None:
    runs = ["--runs", str(tmp_path)] if words[0] == "run" else []
    ended = without(hidden, *words, *runs, **{Env.TERMINATION_FILE: str(tmp_path / "record")})
    assert ended.returncode == 78
    assert said in ended.stderr
    assert "pip install" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.glob("digits/1"))
    if words[-1] == "thunderhead_agent":
        assert '"reason": "MissingExtra"' in (tmp_path / "record").read_text()


def test_what_needs_nothing_works_in_a_bare_installation() -> None:
    everything = {name for names in MODULES.values() for name in names}
    assert without(everything, "validate", "-f", str(JOB)).returncode == 0
    assert without(everything, "--version").returncode == 0


def test_the_trainer_names_the_extra_that_it_needs() -> None:
    program = HIDDEN.partition("if sys")[0] + "import thunderhead; thunderhead.Trainer"
    ended = subprocess.run([sys.executable, "-c", program, "torch"], capture_output=True, text=True, check=False)
    last = ended.stderr.splitlines()[-1]
    assert last == (
        "ModuleNotFoundError: thunderhead.Trainer needs torch, which is not installed; "
        "pip install 'thunderhead[runtime]'"
    )


def test_the_package_knows_its_version() -> None:
    """Also in an environment without torch: who reports a fault is asked for it first."""
    program = HIDDEN.partition("if sys")[0] + "import thunderhead; print(thunderhead.__version__)"
    ended = subprocess.run([sys.executable, "-c", program, "torch,numpy"], capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == version("thunderhead")
