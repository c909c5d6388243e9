"""A page's blocks carried out from top to bottom, as a reader would: Python in one namespace, files kept, commands run.

What a ``text`` block behind a block shows is compared with what the block really says: of Python, everything it prints,
its warnings and the error it ends with; of commands, those lines among others, in their order.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import doc_shell
from doc_blocks import Block, blocks, name

from thunderhead import warning
from thunderhead_cli.jobfile import problems_of, read_job_file
from thunderhead_cli.sweep.file import read_sweep_file

RUN = {"python", "torchrun", "thunderhead"}
TIMEOUT_S = 400  # for a busy machine; a quiet one takes seconds
_EXIT_CODE = re.compile(r"# exit code (\d+)$")


class Page:
    """One page and the directory a reader works in.

    Args:
        path: the page.
        directory: an empty one.
        commands: also run the commands that are about files of the page; else only look whether they exist.
    """

    def __init__(self, path: Path, directory: Path, *, commands: bool) -> None:
        self.path, self.directory, self.commands = path, directory, commands
        self.module = types.ModuleType("__main__")

    def run(self) -> None:
        """All blocks.

        Raises:
            AssertionError: one does not do what the page says.
        """
        for block in blocks(self.path):
            where = f"{name(self.path)}:{block.line}"
            if block.file is not None:
                (self.directory / block.file).write_text(block.text)
            if block.language == "yaml":
                check_job(block, self.directory, where)
            elif block.language == "python" and block.file is None:
                self._python(block, where)
            elif block.language == "sh":
                self._shell(block, where)

    def _python(self, block: Block, where: str) -> None:
        printed, error = io.StringIO(), None
        code = compile("\n" * (block.line - 1) + block.text, str(self.path), "exec")
        warning._said.clear()  # each reader sees what is said once
        with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
            warnings.simplefilter("always")
            # Said of __main__ where a worker of the tests, and no script, is what runs: no reader sees it.
            warnings.filterwarnings("ignore", message=r"BuiltinImporter\.module_repr", category=DeprecationWarning)
            try:
                exec(code, self.module.__dict__)
            except Exception as raised:  # noqa: BLE001 - whatever it is, the page must show it
                error = raised
        said = [f"{item.category.__name__}: {item.message}" for item in caught]
        said += [f"{type(error).__name__}: {error}"] if error is not None else []
        if block.said is None:
            assert not said, f"{where} says what the page does not show: {said}"
            return
        shown = printed.getvalue() + "\n".join(said)
        assert shown.split() == block.said.split(), f"{where} says:\n{shown}\ninstead of:\n{block.said}"

    def _shell(self, block: Block, where: str) -> None:
        output = ""
        for words, line in zip(doc_shell.commands(block.text), doc_shell.lines(block.text), strict=True):
            wrong = doc_shell.problem(words, self.directory)
            assert wrong is None, f"{where}: {' '.join(words)}: {wrong}"
            if self.commands and words[0] in RUN and self._is_about_files(words):
                output += self._command(line, where)
        if block.said is not None and output:
            rest = output
            for line in block.said.splitlines():
                assert line in rest, f"{where}: {line!r} is not in what is left of the output:\n{output}"
                rest = rest.partition(line)[2]

    def _is_about_files(self, words: list[str]) -> bool:
        modules = {path.stem for path in self.directory.glob("*.py")}
        of_page = any((self.directory / word).is_file() for word in words[1:])
        return of_page or (words[1:2] == ["-c"] and any(f"import {module}" in words[2] for module in modules))

    def _command(self, line: str, where: str) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment: dict[str, Any] = {
            **os.environ,
            "PATH": path,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        expected = int(found[1]) if (found := _EXIT_CODE.search(line)) else 0
        assert done.returncode == expected, f"{where}: {line} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout


def check_job(block: Block, directory: Path, where: str) -> None:
    """A job, or a part of one that begins with ``spec`` or with fields of it, is what an API server would take.

    A sweep is one that can be read.
    """
    import yaml

    text = block.text
    documents = list(yaml.safe_load_all(text))
    part = documents[0]
    if "parameters" in part:
        file = directory / f"{block.line}.sweep.yaml"
        file.write_text(text)
        read_sweep_file(file)
        return
    if "kind" not in part:
        spec = part.get("spec", part)
        job = {"apiVersion": "thunderhead.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "part"}}
        base = {"module": {"class_path": "a.B"}, "checkpoint": {"uri": "s3://bucket/prefix"}}
        text = yaml.safe_dump({**job, "spec": {**base, **spec}})
    file = directory / f"{block.line}.checked.yaml"
    file.write_text(text)
    problems = problems_of(read_job_file(file))
    assert not problems, f"{where}: {'; '.join(map(str, problems))}"
