"""The command as a user meets it: output, errors, exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from thunderhead_cli.local.rundir import exclusive
from thunderhead_cli.main import app, command_line

PAGE = (Path(__file__).parents[2] / "docs/reference/command.md").read_text()
EXAMPLE = Path(__file__).parents[2] / "examples/digits/job.yaml"
RUNNER = CliRunner()


def test_validate_says_a_good_file_is_good() -> None:
    result = RUNNER.invoke(app, ["validate", "-f", str(EXAMPLE)])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "'digits' is valid" in result.stdout


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("max_epochs: 20", "max_epoch: 20", "spec.trainer.max_epoch = 20: unknown field; did you mean 'max_epochs'?"),
        ("nodes: 2", "nodes: 0", "spec.nodes = 0"),
        ("s3://checkpoints/digits", "s3:/x", "spec.checkpoint.uri"),
        ("name: digits}", f"name: {'d' * 80}}}", "must be at most 40 characters"),
    ],
)
def test_validate_names_field_value_and_rule(tmp_path: Path, wrong: str, right: str, said: str) -> None:
    path = tmp_path / "job.yaml"
    text = EXAMPLE.read_text()
    assert wrong in text
    path.write_text(text.replace(wrong, right, 1))
    result = RUNNER.invoke(app, ["validate", "-f", str(path)])
    assert result.exit_code == 78
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("word", ["version", "--version"])
def test_version_is_printed(word: str) -> None:
    result = RUNNER.invoke(app, [word])
    assert result.exit_code == 0
    assert result.stdout.startswith("thunderhead 0.")


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("command", [[], ["validate"], ["version"], ["run"], ["verify-checkpoints"]])
def test_help_is_there(command: list[str], option: str) -> None:
    result = RUNNER.invoke(app, [*command, option])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_help_says_each_command_in_a_whole_sentence() -> None:
    listed = RUNNER.invoke(app, ["--help"]).stdout.partition("Commands:")[2]
    assert "..." not in listed
    assert listed.count(".\n") >= 4


def test_the_page_of_the_command_has_every_command_and_option() -> None:
    group: Any = typer.main.get_command(app)
    wanted = {
        option
        for command in (group, *group.commands.values())
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    }
    missing = [word for word in {*group.commands, *wanted} if word not in PAGE]
    assert not missing


def test_verify_checkpoints_tells_an_empty_place_from_a_whole_one(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["verify-checkpoints", tmp_path.as_uri()])
    assert result.exit_code == 1
    assert f"no job checkpoints under {tmp_path.as_uri()}" in result.stdout


def test_verify_checkpoints_refuses_what_is_no_place(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["verify-checkpoints", "here"])
    assert result.exit_code == 2
    assert result.stderr.startswith("thunderhead verify-checkpoints: checkpoint URI 'here' is not one that we can open")
    assert "s3://bucket/prefix" in result.stderr
    result = RUNNER.invoke(app, ["verify-checkpoints", str(tmp_path)])
    assert f"did you mean 'file://{tmp_path}'?" in result.stderr


def test_verify_checkpoints_without_credentials_says_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    result = RUNNER.invoke(app, ["verify-checkpoints", "s3://bucket/prefix", "--endpoint", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (in a job: " in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--kill-pod", "9@50%"], "--kill-pod 9@50%: the job has 2 nodes; choose a node from 0 to 1"),
        (["--kill-pod", "now"], "must be NODE@PERCENT% or NODE@STEP"),
        (["--kill-pod", "0@100%"], "--kill-pod 0@100%: at 100 % the job is done"),
        (["--checkpoint-uri", "here"], "--checkpoint-uri here: spec.checkpoint.uri = 'here': must be s3://bucket"),
        (["--progress-seconds", "-1"], "'--progress-seconds': Input should be greater than or equal to 0"),
        (["-f", "nosuch.yaml"], "nosuch.yaml: cannot be read: No such file or directory; give the path of a job file"),
        (["-f", "."], ".: cannot be read: Is a directory; give the path of a job file with -f"),
        (["--fresch"], "No such option: --fresch"),
        (["again"], "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_no_wrong_job(tmp_path: Path, options: list[str], said: str) -> None:
    result = RUNNER.invoke(app, ["run", "-f", str(EXAMPLE), "--runs", str(tmp_path / "runs"), *options])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert not (tmp_path / "runs/digits/1").exists()


def test_a_file_that_is_not_there_makes_the_command_line_wrong_and_not_the_file() -> None:
    result = RUNNER.invoke(app, ["validate", "-f", "nosuch.yaml"])
    assert result.exit_code == 2


def test_a_run_that_another_command_holds_is_not_begun(tmp_path: Path) -> None:
    with exclusive(tmp_path, "digits"):
        result = RUNNER.invoke(app, ["run", "-f", str(EXAMPLE), "--runs", str(tmp_path)])
    assert result.exit_code == 1
    assert "another 'thunderhead run' of 'digits' is at work there" in result.stderr


@pytest.mark.parametrize(
    ("called_as", "name"),
    [("/usr/bin/thunderhead", "thunderhead"), ("/usr/bin/kubectl-thunderhead", "kubectl thunderhead")],
)
def test_each_command_calls_itself_as_it_was_called(
    called_as: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(*words: str) -> str:
        monkeypatch.setattr("sys.argv", [called_as, *words])
        with pytest.raises(SystemExit):
            command_line(called_as)()
        return "".join(capsys.readouterr())

    assert f"Usage: {name} [OPTIONS]" in told("--help")
    assert f"Begin with: {name} run -f job.yaml" in told("--help")
    assert f"Usage: {name} run [OPTIONS]" in told("run", "--help")
    assert f"Try '{name} -h'" in told("runn")
    assert told("verify-checkpoints", "here").startswith(f"{name} verify-checkpoints: checkpoint URI 'here'")
    assert ("--install-completion" in told("--help")) == (name == "thunderhead")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("rank1", "Invalid value for '--logs': 'rank1' is none of rank0, all, none; did you mean 'rank0'?"),
        ("everything", "Invalid value for '--logs': 'everything' is none of rank0, all, none"),
    ],
)
def test_run_refuses_logs_of_nobody(tmp_path: Path, word: str, said: str) -> None:
    result = RUNNER.invoke(app, ["run", "-f", str(EXAMPLE), "--runs", str(tmp_path), "--logs", word])
    assert result.exit_code == 2
    assert result.stderr.rstrip().endswith(said)


@pytest.mark.parametrize("below", ["", "sub"])
def test_run_refuses_a_directory_that_takes_no_files(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    runs = tmp_path / "file" / below
    result = RUNNER.invoke(app, ["run", "-f", str(EXAMPLE), "--runs", str(runs)])
    assert result.exit_code == 2
    assert result.stderr == (
        f"{runs}/digits: the run's files cannot be written: Not a directory; "
        "choose a directory that takes files with --runs\n"
    )


def test_run_refuses_a_job_without_its_code(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(EXAMPLE.read_text())
    result = RUNNER.invoke(app, ["run", "-f", str(path), "--runs", str(tmp_path)])
    assert result.exit_code == 78
    assert "spec.code.configMap.name = 'digits-code'" in result.stderr
    assert not (tmp_path / "digits/1/job.json").exists()
