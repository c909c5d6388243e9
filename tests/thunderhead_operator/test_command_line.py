"""The command line: what the chart writes is understood, what is wrong is said."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator

import pytest

from thunderhead_operator import __main__ as command
from thunderhead_operator.plan.config import Config


@pytest.fixture(autouse=True)
def _zone() -> Iterator[None]:
    """A test may set TZ; the process believes it until told again."""
    yield
    time.tzset()


def config(*argv: str) -> Config:
    return command._config(command.parser().parse_args(["--runtime-image=runtime:1", *argv]))


def test_an_image_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parser().parse_args([])
    assert "--runtime-image" in capsys.readouterr().err


def test_peers_and_tolerations_reach_decisions() -> None:
    peers = [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    made = config(f"--agent-peers={json.dumps(peers)}", "--node-loss-toleration-seconds=7")
    assert made.agent_peers == tuple(peers)
    assert (made.runtime_image, made.node_loss_toleration_s) == ("runtime:1", 7)


def test_how_the_runtime_image_is_pulled_reaches_decisions() -> None:
    made = config("--runtime-pull-policy=Always", "--runtime-pull-secret=a", "--runtime-pull-secret=b")
    assert (made.runtime_pull_policy, made.runtime_pull_secrets) == ("Always", ("a", "b"))


@pytest.mark.parametrize("wrong", ['{"podSelector": {}}', '["a"]', "prometheus", ""])
def test_peers_that_are_none(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        config(f"--agent-peers={wrong}")
    assert refused.value.code == 2
    assert f"--agent-peers {wrong!r} is no JSON list" in capsys.readouterr().err


def test_namespaces_repeat() -> None:
    options = command.parser().parse_args(["--runtime-image=r", "--namespace=a", "--namespace=b"])
    assert options.namespace == ["a", "b"]


def test_log_lines_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "pass of %s/%s", ("team", "digits"), None)
    record.created, record.msecs = 1_767_225_600.25, 250.0
    said = json.loads(command.JsonFormatter().format(record))
    assert (said["level"], said["message"]) == ("WARNING", "pass of team/digits")
    assert said["time"] == "2026-01-01T00:00:00.250Z", "whatever the zone of the machine"
    try:
        raise ValueError("ours")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: ours" in json.loads(command.JsonFormatter().format(record))["exception"]


@pytest.mark.parametrize(("level", "told"), [("INFO", False), ("DEBUG", False), ("ERROR", False)])
def test_probes_are_not_told(level: str, told: bool) -> None:
    root = logging.getLogger()
    before, handlers = root.level, root.handlers[:]
    try:
        command._set_up_logging(level, "json")
        assert logging.getLogger("aiohttp.access").isEnabledFor(logging.INFO) is told
        assert logging.getLogger("thunderhead_operator").isEnabledFor(logging.INFO) is (level != "ERROR")
    finally:
        root.handlers = handlers
        root.setLevel(before)


def test_the_command_line_is_checked_before_anything_heavy_is_imported() -> None:
    import subprocess

    code = "import sys, thunderhead_operator.__main__; sys.exit('kopf' in sys.modules or 'kubernetes' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["control.engine", "cluster.memory", "plan.decide", "control.reconcile"])
def test_what_the_local_mode_uses_needs_neither_kopf_nor_kubernetes(package: str) -> None:
    import subprocess

    heavy = "{'kopf', 'kubernetes', 'aiohttp'} & set(sys.modules)"
    code = f"import sys, thunderhead_operator.{package}; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
