"""``.ckpt`` files: finding, reading and writing them."""

from __future__ import annotations

import os
import pickle
import re
from typing import IO, TYPE_CHECKING, Any, Final

import torch

from thunderhead.checkpoint.migration import migrate, old_classes
from thunderhead.checkpoint.places import LOCAL, is_url, place_of
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.trainer import arguments as args
from thunderhead.warning import warn

if TYPE_CHECKING:
    from thunderhead.trainer.trainer import Trainer

# How files begin that torch.save writes: a zip archive; before torch 1.6 a magic number, pickled by some protocol.
_ARCHIVE_HEAD: Final = b"PK\x03\x04"
_LEGACY_MAGIC: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_HPC = re.compile(r"hpc_ckpt_(\d+)\.ckpt")


def resolve(trainer: Trainer, asked: str | os.PathLike[str] | None) -> str | None:
    """The path that ``ckpt_path`` means: itself, or what a word stands for.

    ``"best"`` and ``"last"`` are those of the callbacks that save, ``"hpc"`` the ``hpc_ckpt_<N>.ckpt`` with the highest
    number in ``default_root_dir``. None is no file, but for fit with a callback that resumes by default
    (OnExceptionCheckpoint): the last, if any.

    Raises:
        TypeError: neither text nor a path.
        ValueError: ``"best"`` without a ModelCheckpoint, or before it saved anything; ``"hpc"`` without such a file.
        MisconfigurationException: ``"registry..."``.
    """
    if asked is None:
        wants = any(getattr(callback, "resumes_by_default", False) for callback in trainer.checkpoint_callbacks)
        return newest_last(trainer) if wants and trainer._fn == "fit" else None
    path = args.path("ckpt_path", asked, "'best', 'last', 'hpc', a file or a URL")
    if path == "best":
        return _best(trainer)
    if path == "last":
        found = newest_last(trainer)
        if found is None:
            instead = "starting fresh" if trainer._fn == "fit" else f"{trainer._fn} runs the module as it is"
            warn(f'ckpt_path="last", but there is no last checkpoint; {instead}')
        return found
    if path == "hpc":
        return _newest_hpc(trainer.default_root_dir)
    if path.startswith("registry"):
        raise MisconfigurationException(
            f"ckpt_path={path!r}: the model registry is a service of its vendor, which is not supported; download the "
            "file, and pass its path or URL"
        )
    return path


def _best(trainer: Trainer) -> str:
    paths = [c.best_model_path for c in trainer.checkpoint_callbacks if hasattr(c, "best_model_path")]
    if not paths:
        raise ValueError('ckpt_path="best" needs a ModelCheckpoint callback, and this Trainer has none')
    if paths[0]:
        return str(paths[0])
    if trainer.fast_dev_run:
        raise ValueError('ckpt_path="best" does not exist under fast_dev_run, which saves nothing')
    raise ValueError('ckpt_path="best", but ModelCheckpoint has saved nothing yet; run fit first, or give a path')


def _newest_hpc(directory: str) -> str:
    names = place_of(directory).names(directory)
    numbers = {int(match[1]): name for name in names if (match := _HPC.fullmatch(name))}
    if not numbers:
        raise ValueError(
            f'ckpt_path="hpc", but default_root_dir {directory!r} holds no hpc_ckpt_<N>.ckpt; pass the path of a file'
        )
    return os.path.join(directory, numbers[max(numbers)])


def newest_last(trainer: Trainer) -> str | None:
    """The newest of the files that callbacks name as their last."""
    found = [path for callback in trainer.checkpoint_callbacks for path in last_candidates(callback, trainer)]
    return max(found, key=lambda path: place_of(path).modified(path), default=None)


def last_candidates(callback: Any, trainer: Trainer) -> list[str]:
    """Files that may be a callback's last checkpoint."""
    find = getattr(callback, "_find_last_checkpoints", None)
    return [] if find is None else sorted(find(trainer))


def read(path: str, *, weights_only: bool | None = None, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU; one of Lightning before 2.0 comes in today's form.

    Args:
        path: file or URL.
        weights_only: refuse everything but tensors and plain data (the default).
        map_location: where tensors go.

    Raises:
        FileNotFoundError: there is no such file.
        MisconfigurationException: it is no checkpoint or a directory, or holds objects, which only
            ``weights_only=False`` loads.
        OSError: it cannot be read.
    """
    place = place_of(path)
    if place.is_directory(path):
        raise MisconfigurationException(
            f"checkpoint {path!r} is a directory, as sharded strategies write them; make it one file with Lightning's "
            f"python -m lightning.pytorch.utilities.consolidate_checkpoint {path}, and load what that writes"
        )
    if not place.exists(path):
        raise FileNotFoundError(f"checkpoint {path!r} does not exist.{_close_to(path)}")
    args.switch("weights_only", weights_only, optional=True)
    safe = weights_only is None or weights_only
    with place.read(path) as stream:
        _refuse_other_formats(stream, path)
        try:
            with torch.serialization.safe_globals(old_classes()):
                loaded = torch.load(stream, map_location=map_location, weights_only=safe)
        except Exception as error:
            refusal = _refusal(error, path, safe=safe)
            if refusal is not None:
                raise refusal from error
            # What torch and pickle say of a damaged file ranges from KeyError to an error of the archive.
            error.add_note(f"while reading checkpoint {path!r}; if the file is cut short or damaged, pass another")
            raise
    return migrate(loaded, path)


def _close_to(path: str) -> str:
    """The word or the file beside it that may have been meant."""
    folder = os.path.dirname(path)
    if is_url(path):
        return ""
    beside = [os.path.join(folder, entry) for entry in LOCAL.names(folder or ".") if not entry.startswith(".")]
    return did_you_mean(path, beside if folder else ["best", "last", "hpc", *beside])


def _refuse_other_formats(stream: IO[bytes], path: str) -> None:
    """What is no file of ``torch.save``: torch would advise to load it without ``weights_only``, which changes nothing.

    Raises:
        MisconfigurationException: it is none.
    """
    head = stream.read(32)
    stream.seek(0)
    if head.startswith(_ARCHIVE_HEAD) or _LEGACY_MAGIC in head:
        return
    what = "it is empty" if not head else f"torch.save wrote none that begins with {head[:8]!r}"
    raise MisconfigurationException(
        f"{path!r} is no checkpoint: {what}; pass a file of ModelCheckpoint or Trainer.save_checkpoint"
    )


def _refusal(error: Exception, path: str, *, safe: bool) -> MisconfigurationException | None:
    """What a reader can do about a file that is whole."""
    if isinstance(error, pickle.UnpicklingError) and safe:
        return MisconfigurationException(
            f"checkpoint {path!r} holds more than tensors and plain data; pass weights_only=False if you trust "
            "its origin"
        )
    if isinstance(error, ModuleNotFoundError) and _package(error) in ("lightning", "pytorch_lightning"):
        return MisconfigurationException(
            f"checkpoint {path!r} holds objects of {error.name}, which is not installed; call "
            "thunderhead.compat.install() first, or set THUNDERHEAD_COMPAT=1, and they become Thunderhead's"
        )
    return None


def _package(error: ModuleNotFoundError) -> str:
    return str(error.name).partition(".")[0]


def write(made: dict[str, Any], path: str, options: Any = None) -> None:
    """Write a checkpoint whole or not at all: a reader never sees half a file.

    Args:
        made: what to write.
        path: file or URL.
        options: must be None; where a file goes is said by its path, and who may write by the environment.

    Raises:
        OSError: it cannot be written there.
        TypeError: there are options.
    """
    if options is not None:
        raise TypeError(
            f"storage_options={options!r}: nothing takes them; credentials and endpoints come from the environment "
            "(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...)"
        )

    def save(stream: Any) -> None:
        faults = _Faults(stream)
        try:
            torch.save(made, faults)  # type: ignore[arg-type]  # write and flush are all that it calls
        except RuntimeError as error:
            # torch ends its archive also after a failed write, and what that raises hides the cause.
            if faults.first is not None:
                raise faults.first from error
            raise

    place_of(path).write(path, save)


class _Faults:
    """A stream that remembers the first error of writing to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.first: Exception | None = None

    def write(self, content: Any) -> Any:
        try:
            return self._stream.write(content)
        except Exception as error:
            self.first = self.first or error
            raise

    def flush(self) -> None:
        self._stream.flush()


def remove(path: str) -> None:
    """Delete a checkpoint, a file or a directory; nothing where it is gone already."""
    place_of(path).remove(path)
