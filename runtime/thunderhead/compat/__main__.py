"""``python -m thunderhead.compat script.py [arguments]``, or ``-m module``: with Lightning's names being ours.

``--check script.py`` runs nothing, and lists what the script uses that is not here.
"""

from __future__ import annotations

import os
import runpy
import sys
from contextlib import suppress
from pathlib import Path

from thunderhead.compat import VARIABLE, install
from thunderhead.compat.check import check

_USAGE = (
    "usage: python -m thunderhead.compat (SCRIPT | -m MODULE) [ARGUMENT ...]\n"
    "       python -m thunderhead.compat --check SCRIPT ..."
)


def main() -> int:
    """Run the script or module named on the command line as the main program; the exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--check"]:
        return _check(arguments[1:])
    as_module = arguments[:1] == ["-m"]
    if as_module:
        arguments = arguments[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-",)):
        return _refuse(_USAGE)
    if not as_module and not os.path.exists(arguments[0]):
        return _refuse(f"{_USAGE}\n{arguments[0]}: no such file; give the path of a script")
    if not as_module:
        _tell(arguments[0])
    install()
    os.environ[VARIABLE] = "1"  # for processes that the script starts
    sys.argv = arguments
    if as_module:
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")
    return 0


def _check(scripts: list[str]) -> int:
    """1 where something is lacking that a script cannot do without."""
    if not scripts or not all(os.path.isfile(script) for script in scripts):
        lacking = [script for script in scripts if not os.path.isfile(script)]
        return _refuse(
            "\n".join([_USAGE, *(f"{script}: no such file; give the path of a script" for script in lacking)])
        )
    found = []
    for script in scripts:
        try:
            found += check(Path(script))
        except (SyntaxError, OSError) as error:
            return _refuse(f"{script}: it cannot be read: {error}")
    for finding in found:
        print(finding)
    if not found:
        print(f"{', '.join(scripts)}: every name of Lightning's that is used is here")
    return int(any(not finding.optional for finding in found))


def _tell(script: str) -> None:
    """Say when a script starts, rather than after hours, what of it will be refused where it is called."""
    with suppress(SyntaxError, OSError, ValueError):
        for finding in check(Path(script)):
            if not finding.optional:
                print(f"thunderhead.compat: {finding}", file=sys.stderr)


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
