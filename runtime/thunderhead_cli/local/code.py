"""The user's Python files: what a command takes, what the run keeps of it, and what is said when they are edited.

Within one command every attempt runs the same files, for a recovery must not run something else than what failed. A new
command takes what is there by then, and says what of it differs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from thunderhead_api.code_hash import changed_files
from thunderhead_api.treaty import CODE_DIR
from thunderhead_cli.jobfile import JobFileError
from thunderhead_cli.local.rundir import RunDir, writing

_LOOK_S = 1.0
_SHOWN = 8
Files = dict[str, str]


def files_beside(directory: Path) -> Files:
    """The ``*.py`` files of a directory, by name.

    Raises:
        JobFileError: one cannot be read, or is no text.
    """
    return {path.name: _read(path) for path in _python_files(directory)}


def kept_code(run: RunDir) -> Files:
    """What the run's newest command took; empty where there was none."""
    return files_beside(run.code_dir)


def keep_code(run: RunDir, files: Mapping[str, str]) -> None:
    """Keep a copy for people, and for a command that finds no files any more.

    Raises:
        RunDirError: it cannot be written.
    """
    with writing(run.code_dir):
        shutil.rmtree(run.code_dir, ignore_errors=True)
        run.code_dir.mkdir(parents=True)
        for name, text in files.items():
            (run.code_dir / name).write_text(text, encoding="utf-8")


def in_the_users_files(run: RunDir, directory: Path | None, files: Mapping[str, str]) -> Callable[[str], str]:
    """What puts the user's own files in the place of the copies that pods run: in a traceback, the ones to edit.

    Args:
        run: whose pods have the copies.
        directory: of the user's files; None where there are none beside the job file.
        files: those that were copied.
    """
    if directory is None:
        return str
    pods, names = re.escape(f"{run.path / 'pods'}/"), "|".join(re.escape(name) for name in files)
    copies = re.compile(rf"{pods}[^/\s]+/root{re.escape(CODE_DIR)}/(?=(?:{names})(?![\w.]))")
    return lambda text: copies.sub(lambda _: f"{directory}/", text)


def listed(names: list[str]) -> str:
    """A few names, and how many more."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


@dataclass(slots=True)
class CodeWatch:
    """Looks now and then whether the files beside the job file are still those that run.

    Attributes:
        directory: of the user's files; None where none are watched.
        taken: what this command runs.
        clock: monotonic seconds.
    """

    directory: Path | None
    taken: Mapping[str, str]
    clock: Callable[[], float]
    _looked_at: float | None = None
    _stats: dict[str, tuple[int, int]] = field(default_factory=dict)
    _told: tuple[str, ...] = ()

    def news(self) -> str | None:
        """What to say now: once for each set of files that came to differ."""
        now = self.clock()
        if self.directory is None or (self._looked_at is not None and now - self._looked_at < _LOOK_S):
            return None
        self._looked_at = now
        stats = _stats(self.directory)
        if stats == self._stats:
            return None
        self._stats = stats
        try:
            changed = tuple(changed_files(self.taken, files_beside(self.directory)))
        except JobFileError:  # being written: the next look will see the whole of it
            self._stats = {}
            return None
        if changed == self._told:
            return None
        self._told = changed
        if not changed:
            return "code: the files are again those that this command runs"
        return (
            f"code: {listed(list(changed))} edited; this command goes on with the files it began with, after a failure "
            "too. To take the new ones: Ctrl-C, then the same command"
        )


def _python_files(directory: Path) -> list[Path]:
    """Without directories of such a name, and without what editors leave beside a file, such as ``.#digits.py``."""
    return sorted(path for path in directory.glob("*.py") if not path.name.startswith(".") and path.is_file())


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise JobFileError(
            f"{path}: cannot be read: {error.strerror}; make it readable, or move it elsewhere"
        ) from error
    except UnicodeDecodeError as error:
        raise JobFileError(f"{path}: is not UTF-8 text (byte {error.start}); save it as such") from error


def _stats(directory: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in _python_files(directory):
        try:
            stat = path.stat()
        except OSError:  # gone meanwhile
            continue
        found[path.name] = stat.st_mtime_ns, stat.st_size
    return found
