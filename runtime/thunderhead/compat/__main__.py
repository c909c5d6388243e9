"""``python -m thunderhead.compat script.py [arguments]``, or ``-m module``: with Lightning's names being ours."""

from __future__ import annotations

import os
import runpy
import sys

from thunderhead.compat import VARIABLE, install

_USAGE = "usage: python -m thunderhead.compat (SCRIPT | -m MODULE) [ARGUMENT ...]"


def main() -> int:
    """Run the script or module named on the command line as the main program; the exit code."""
    arguments = sys.argv[1:]
    as_module = arguments[:1] == ["-m"]
    if as_module:
        arguments = arguments[1:]
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-",)):
        return _refuse(_USAGE)
    if not as_module and not os.path.exists(arguments[0]):
        return _refuse(f"{_USAGE}\n{arguments[0]}: no such file; give the path of a script")
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


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
