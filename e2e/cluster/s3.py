"""versitygw over a directory: real signatures, conditional writes, checksums, two accounts."""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from pathlib import Path

from . import daemon
from .api import Keys, S3Server
from .cgroups import Cgroup
from .config import Config
from .shell import run, wait_until

PORT = 9000
REGION = "us-east-1"


def describe(address: str) -> S3Server:
    """A server with fresh keys, which pods and this machine reach at the same address."""
    endpoint = f"http://{address}:{PORT}"
    admin, denied = _keys("admin"), _keys("denied")
    return S3Server(endpoint=endpoint, host_endpoint=endpoint, region=REGION, admin=admin, denied=denied)


def start(server: S3Server, config: Config, program: Path, group: Cgroup) -> None:
    """Starts the server and makes the account that may do nothing; keeps what is there already."""
    home = config.state / "s3"
    for part in ("buckets", "accounts"):
        (home / part).mkdir(parents=True, exist_ok=True)
    keys = {"ROOT_ACCESS_KEY": server.admin.access, "ROOT_SECRET_KEY": server.admin.secret}
    daemon.start(
        group,
        [program, "--port", f"{config.host_ip}:{PORT}", "--iam-dir", home / "accounts", "--keep-alive", "--quiet",
         "posix", home / "buckets"],
        log=config.state / "log" / "s3.log",
        env=keys,
    )  # fmt: skip
    wait_until(lambda: answers(server), "S3 server answers", timeout_s=30)
    ensure_denied_account(server, program)


def answers(server: S3Server) -> bool:
    """Whether the server speaks HTTP; an unsigned request is refused, and that is an answer too."""
    try:
        urllib.request.urlopen(server.host_endpoint, timeout=2).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
        return True
    except OSError:
        return False
    return True


def ensure_denied_account(server: S3Server, program: Path) -> None:
    """Makes the account that owns nothing and may do nothing, unless it is there."""
    admin = (
        program, "admin", "--access", server.admin.access, "--secret", server.admin.secret,
        "--endpoint-url", server.host_endpoint,
    )  # fmt: skip
    if server.denied.access not in run(*admin, "list-users"):
        run(*admin, "create-user", "--access", server.denied.access, "--secret", server.denied.secret, "--role", "user")


def _keys(user: str) -> Keys:
    return Keys(access=f"{user}{secrets.token_hex(6)}", secret=secrets.token_hex(20))
