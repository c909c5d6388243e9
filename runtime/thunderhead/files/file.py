"""``.ckpt`` files: finding, reading and writing them."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Final

import torch
from torch.types import Storage

from thunderhead import arguments as args
from thunderhead.exceptions import MisconfigurationException, did_you_mean
from thunderhead.files import sharded
from thunderhead.files.migration import migrate, old_classes
from thunderhead.files.places import LOCAL, is_url
from thunderhead.files.schemes import place_of

# Where torch puts tensors that it reads.
MapLocation = Callable[[Storage, str], Storage] | torch.device | str | dict[str, str] | None
# Where a checkpoint is read from: a path, a URL, or a binary stream that somebody opened.
Source = str | os.PathLike[str] | IO[bytes]
# How files begin that torch.save writes: a zip archive; before torch 1.6 a magic number, pickled by some protocol.
_ARCHIVE_HEAD: Final = b"PK\x03\x04"
_LEGACY_MAGIC: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read(
    source: Source,
    *,
    weights_only: bool | None = None,
    map_location: MapLocation = "cpu",
    make: sharded.Make | None = None,
) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the CPU; one of Lightning before 2.0 comes in today's form.

    Args:
        source: file or URL, or a directory that ranks wrote together; or a binary stream, which is read from where it
            stands and stays open.
        weights_only: refuse everything but tensors and plain data (the default).
        map_location: where tensors go.
        make: where tensors of a directory are read into, each; whole ones by default.

    Raises:
        FileNotFoundError: there is no such file.
        MisconfigurationException: it is no checkpoint, or holds objects, which only ``weights_only=False`` loads.
        OSError: it cannot be read.
    """
    args.switch("weights_only", weights_only, optional=True)
    safe = weights_only is None or weights_only
    if not isinstance(source, str | os.PathLike):
        name = name_of(source)
        return migrate(_load(_seekable(source), name, safe, map_location), name)
    path = os.fspath(source)
    place = place_of(path)
    if place.is_directory(path):
        return _read_directory(path, safe=safe, make=make)
    if not place.exists(path):
        raise FileNotFoundError(f"checkpoint {path!r} does not exist.{_close_to(path)}")
    with place.read(path) as stream:
        return migrate(_load(stream, path, safe, map_location), path)


def _read_directory(path: str, *, safe: bool, make: sharded.Make | None) -> dict[str, Any]:
    if is_url(path) or not sharded.is_sharded(path):
        raise MisconfigurationException(
            f"checkpoint {path!r} is a directory that holds no .metadata, as ranks that save together write it; pass "
            "the checkpoint inside of it, or copy one that lies at a URL to a file system first"
        )
    tensors = sharded.arranged(sharded.read_tensors(path, safe=safe, make=make))
    return migrate({**read_meta(path, safe=safe), **tensors}, path)


def read_meta(path: str, *, safe: bool) -> dict[str, Any]:
    """What a directory that ranks wrote together holds beside their tensors."""
    meta = os.path.join(path, sharded.META)
    if not LOCAL.exists(meta):
        return {}
    with LOCAL.read(meta) as stream:
        return _load(stream, meta, safe, "cpu")


def read_any(path: str, *, weights_only: bool | None = None) -> dict[str, Any]:
    """Read what ``torch.save`` wrote, be it of a Trainer or not, its tensors on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        MisconfigurationException: it is none of torch's, or holds objects, which only ``weights_only=False`` loads.
        OSError: it cannot be read.
    """
    if not place_of(path).exists(path):
        raise FileNotFoundError(f"checkpoint {path!r} does not exist.{_close_to(path)}")
    with place_of(path).read(path) as stream:
        return _load(stream, path, weights_only is None or weights_only, "cpu")


def _load(stream: IO[bytes], path: str, safe: bool, map_location: MapLocation) -> dict[str, Any]:
    _refuse_other_formats(stream, path)
    try:
        with torch.serialization.safe_globals(old_classes()):
            loaded: dict[str, Any] = torch.load(stream, map_location=map_location, weights_only=safe)
    except Exception as error:
        refusal = _refusal(error, path, safe=safe)
        if refusal is not None:
            raise refusal from error
        # What torch and pickle say of a damaged file ranges from KeyError to an error of the archive.
        error.add_note(f"while reading checkpoint {path!r}; if the file is cut short or damaged, pass another")
        raise
    return loaded


def name_of(source: Source) -> str:
    """What to call it in a message."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"<{type(source).__name__}>"


def _seekable(stream: IO[bytes]) -> IO[bytes]:
    """A stream of its rest from the beginning; torch looks for an archive's end where a stream ends, and jumps.

    Raises:
        MisconfigurationException: it is no binary stream, or is read to its end.
    """
    if not hasattr(stream, "read") or isinstance(stream, io.TextIOBase):
        raise MisconfigurationException(
            f"checkpoint {stream!r} is neither a path, a URL nor a binary stream; open a file with mode 'rb'"
        )
    if stream.seekable() and stream.tell() == 0:
        return stream
    rest = stream.read()
    if not rest:
        raise MisconfigurationException(f"checkpoint {name_of(stream)!r} stands at its end; call seek(0) on it first")
    return io.BytesIO(rest)


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


def write(made: dict[str, Any], path: str, options: object = None) -> None:
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

    def save(stream: BinaryIO) -> None:
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

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.first: Exception | None = None

    def write(self, content: bytes) -> int:
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
