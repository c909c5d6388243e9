"""Make one ``.ckpt`` file of a directory that ranks wrote together.

::

    python -m thunderhead.files.consolidate_checkpoint FOLDER

It needs one process on the CPU, and memory for everything in it. What it writes is read by every strategy, and by
Lightning.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from thunderhead.exceptions import MisconfigurationException
from thunderhead.files import file, sharded


def consolidate(folder: Path, output: Path, *, weights_only: bool = True) -> None:
    """Write ``output`` from ``folder``.

    Raises:
        MisconfigurationException: ``folder`` is none that ranks wrote together, or ``output`` is there.
    """
    if not sharded.is_sharded(str(folder)):
        raise MisconfigurationException(
            f"{str(folder)!r} is no directory with a .metadata, as ranks that save together write it"
        )
    if output.exists():
        raise MisconfigurationException(f"{str(output)!r} exists; pass another --output_file, or move it away")
    file.write(file.read(str(folder), weights_only=weights_only), str(output))


def main(arguments: Sequence[str] | None = None) -> int:
    """Consolidate as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m thunderhead.files.consolidate_checkpoint", description=__doc__)
    parser.add_argument("checkpoint_folder", type=Path, help="the directory")
    parser.add_argument("--output_file", type=Path, help="the file; by default FOLDER.consolidated")
    parser.add_argument(
        "--unsafe", action="store_true", help="also read objects that are no plain data; trust its origin"
    )
    given = parser.parse_args(arguments)
    folder: Path = given.checkpoint_folder
    output = given.output_file or folder.with_name(f"{folder.name}.consolidated")
    try:
        consolidate(folder, output, weights_only=not given.unsafe)
    except (MisconfigurationException, OSError) as error:
        print(f"consolidate_checkpoint: {error}", file=sys.stderr)
        return 1
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
