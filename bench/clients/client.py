"""What is run of one library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A library built on Lightning, and what of its own is run.

    Attributes:
        name: of the library.
        package: whose version the table shows.
        requirements: what is installed beside torch and Lightning, as for pip.
        what: what is run, in words.
        script: a file of ``bench/clients/scripts``, which prints results; written after the library's documentation.
        tests: arguments of pytest for the library's own tests, paths below its source distribution; none where that
            holds no tests, or none that train without a download.
        variables: set for both sides.
        note: for the table: what had to be left out, and why; what differs, and why.
    """

    name: str
    package: str
    requirements: tuple[str, ...]
    what: str
    script: str
    tests: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    note: str = ""
