"""Who writes, reads and removes ``.ckpt`` files: one object per Trainer, which ``plugins`` can replace."""

from __future__ import annotations

import atexit
import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from thunderhead.files import file
from thunderhead.files.file import MapLocation
from thunderhead.files.places import LOCAL
from thunderhead.files.staging import detached
from thunderhead.files.writable import LateCheckpointError, in_words

Path = str | os.PathLike[str]


class CheckpointIO(ABC):
    """Where checkpoints of ``Trainer.save_checkpoint``, ``ckpt_path`` and the callbacks go; derive from it for another.

    Rank 0 writes and removes, every rank reads.
    """

    @abstractmethod
    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path, storage_options: Any = None) -> None:
        """Write the content, whole or not at all.

        Args:
            checkpoint: content by key; its tensors are live and change with the next step.
            path: where to.
            storage_options: what ``Trainer.save_checkpoint`` was given.

        Raises:
            OSError: it could not be written.
        """

    @abstractmethod
    def load_checkpoint(self, path: Path, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The content that was written, with tensors on the CPU unless ``map_location`` says otherwise.

        Raises:
            FileNotFoundError: there is none.
        """

    @abstractmethod
    def remove_checkpoint(self, path: Path) -> None:
        """Delete it; nothing where it is gone already."""

    def link_checkpoint(self, target: Path, path: Path) -> None:
        """Let ``path`` name what lies at ``target`` too, for ``ModelCheckpoint(save_last="link")``; optional.

        By default a link in the file system, or a copy where that has none; what this object keeps elsewhere it reads
        and writes again.

        Args:
            target: a checkpoint that it has written.
            path: replaced where it exists.

        Raises:
            OSError: it could not be written.
        """
        if LOCAL.exists(os.fspath(target)):
            LOCAL.link(os.fspath(target), os.fspath(path))
        else:
            # Its own file of a moment ago, so that whatever it holds may be loaded.
            self.save_checkpoint(self.load_checkpoint(target, weights_only=False), path)

    def teardown(self) -> None:  # noqa: B027 - optional
        """The run is over; everything must be on its place now.

        Raises:
            OSError: something could not be written.
        """


class TorchCheckpointIO(CheckpointIO):
    """One file of ``torch.save`` per checkpoint, written beside its place and moved there when it is whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path, storage_options: object = None) -> None:
        file.write(checkpoint, os.fspath(path), storage_options)

    def load_checkpoint(
        self, path: Path, map_location: MapLocation = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        location = "cpu" if map_location is None else map_location
        return file.read(os.fspath(path), weights_only=weights_only, map_location=location)

    def remove_checkpoint(self, path: Path) -> None:
        file.remove(os.fspath(path))


class AsyncCheckpointIO(CheckpointIO):
    """Writes beside training: a save copies the state to the host and returns, one thread writes in order.

    At most ``pending`` saves wait, so that a slow disk holds training up rather than filling the memory with copies.
    What fails is raised by the next save, link, removal or load, or at the end of the run. Loads and the end of the run
    wait for everything before them.

    Args:
        checkpoint_io: who writes; TorchCheckpointIO by default.
        pending: saves, links and removals that may wait beside the one being written.
    """

    def __init__(self, checkpoint_io: CheckpointIO | None = None, pending: int = 1) -> None:
        self._io = TorchCheckpointIO() if checkpoint_io is None else checkpoint_io
        self._pending = pending
        self._queue: queue.Queue[Callable[[], None] | None] | None = None
        self._thread: threading.Thread | None = None
        self._failed: BaseException | None = None

    @property
    def checkpoint_io(self) -> CheckpointIO:
        """Who writes."""
        return self._io

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path, storage_options: object = None) -> None:
        self._raise_failure()
        staged = detached(checkpoint)
        self._put("written", path, lambda: self._io.save_checkpoint(staged, path, storage_options=storage_options))

    def load_checkpoint(
        self, path: Path, map_location: MapLocation = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        self._finish()
        return self._io.load_checkpoint(path, map_location=map_location, weights_only=weights_only)

    def remove_checkpoint(self, path: Path) -> None:
        self._raise_failure()
        # In its turn: the file may still be waiting to be written.
        self._put("removed", path, lambda: self._io.remove_checkpoint(path))

    def link_checkpoint(self, target: Path, path: Path) -> None:
        self._raise_failure()
        # In its turn too: what it names may not be written yet.
        self._put("linked", path, lambda: self._io.link_checkpoint(target, path))

    def teardown(self) -> None:
        try:
            self._finish()
        finally:
            self._io.teardown()

    def _put(self, what: str, path: Path, work: Callable[[], None]) -> None:
        if self._queue is None:
            self._queue = queue.Queue(self._pending)
            # Nobody tells of the end of a save outside of a run, so the interpreter's own is waited for.
            self._thread = threading.Thread(target=self._work, args=(self._queue,), name="checkpoint-io", daemon=True)
            self._thread.start()
            atexit.register(self._finish)
        self._queue.put(partial(_explained, what, os.fspath(path), work))

    def _work(self, waiting: queue.Queue[Callable[[], None] | None]) -> None:
        while (work := waiting.get()) is not None:
            if self._failed is not None:
                continue  # a removal must not follow a save that failed: it would delete the last good file
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised by the training thread
                self._failed = error

    def _raise_failure(self) -> None:
        if self._failed is not None:
            self._finish()

    def _finish(self) -> None:
        """Wait for everything, end the thread, and say what failed."""
        if self._queue is not None and self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            atexit.unregister(self._finish)
            self._queue = self._thread = None
        failed, self._failed = self._failed, None
        if failed is not None:
            raise failed

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which starts its own thread: everything that waits is written first."""
        self._finish()
        return dict(self.__dict__)


def _explained(what: str, path: str, work: Callable[[], None]) -> None:
    """Do it; what fails is raised in the midst of something else, so it must say by itself what is missing."""
    try:
        work()
    except Exception as error:
        subject = f"checkpoint {path!r} could not be {what} beside training, and nothing that was to follow was done"
        if not isinstance(error, OSError):
            error.add_note(subject)
            raise
        said = in_words(error, subject, str(error.filename)) if error.filename is not None else None
        late = LateCheckpointError(f"{subject}: {error}" if said is None else str(said))
        late.errno = error.errno
        raise late from error
