"""Verify what lies in a store: ``python -m thunderhead.store.verify s3://bucket/prefix [--endpoint URL] [--json]``.

Every commit that counts is read in full and compared with its checksums; nothing is written. The exit status is 0
when at least one commit counts and all of them verify, 2 when the URI is none, 78 when packages are missing that are
needed to read it, else 1. Needs neither torch nor a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from thunderhead.job.errors import InvalidConfiguration, JobError
from thunderhead.store.objects import StoreError
from thunderhead_api.extras import MissingExtra, needed, require
from thunderhead_api.treaty import ExitCode


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m thunderhead.store.verify") -> int:
    """The command; returns its exit status. ``prog`` is what the user typed."""
    parser = argparse.ArgumentParser(prog=prog, description="Verify job checkpoints.")
    parser.add_argument("uri", help="s3://bucket[/prefix] or file:///path: a manifest, a job, or whatever holds jobs")
    parser.add_argument("--endpoint", help="URL of an S3-compatible server")
    parser.add_argument("--region", help="S3 region")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    if (lacking := _lacking(prog, options.uri)) is not None:
        print(lacking, file=sys.stderr)
        return int(ExitCode.INVALID_CONFIGURATION)
    from thunderhead.store.verified import as_json, as_text, verify_uri

    try:
        reports = verify_uri(options.uri, endpoint=options.endpoint, region=options.region)
    except InvalidConfiguration as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    except (JobError, StoreError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(as_json(reports) if options.json else as_text(options.uri, reports))
    return 0 if reports and all(report.verified for report in reports) else 1


def _lacking(prog: str, uri: str) -> str | None:
    """What to say where something is not installed that reads what lies there."""
    try:
        if uri.startswith("s3://"):
            require(prog, "s3")
        import_module("thunderhead.store.verified")
    except MissingExtra as error:
        return str(error)
    except ModuleNotFoundError as error:
        if (sentence := needed(prog, error)) is None:
            raise
        return sentence
    return None


if __name__ == "__main__":
    sys.exit(main())
