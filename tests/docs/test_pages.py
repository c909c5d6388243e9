"""Every page: links lead somewhere, commands exist, jobs are valid, Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import doc_shell
import pytest
from doc_blocks import ROOT, Block, blocks, headings, links, name, pages
from doc_run import check_job

PAGES = pages()
READERS_OWN = "train.py"
TOP = ("bench", "charts", "crds", "docs", "e2e", "examples", "operator", "requirements", "runtime", "tests", "tools")
NOWHERE = {"operator/__init__.py"}  # named because it must not be there
# A test of the cluster that is shown for its shape; its fixtures exist only there.
FRAGMENTS = {"docs/development.md"}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        there = page.parent / target if target else page
        assert there.exists(), f"{name(page)}: {link}"
        assert not anchor or anchor in headings(there), f"{name(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    named = set(re.findall(rf"`((?:{'|'.join(TOP)})/[\w./-]*)`", page.read_text()))
    assert not [path for path in named - NOWHERE if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_exist(page: Path) -> None:
    made = {READERS_OWN, *(block.file for block in blocks(page))}
    for block in blocks(page):
        for words in doc_shell.commands(block.text) if block.language == "sh" else ():
            if not made.intersection(words):
                assert doc_shell.problem(words) is None, f"{name(page)}:{block.line}: {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_jobs_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            check_job(block, tmp_path, f"{name(page)}:{block.line}")


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "guides"], ids=name)
def test_python_runs(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            code = compile(block.text, name(page), "exec")
            if name(page) not in FRAGMENTS:
                exec(code, {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_say_what_they_are(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"", "python", "sh", "yaml"}


def test_the_index_leads_to_every_page() -> None:
    named = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs/README.md")}
    pages_of_docs = {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "README.md"}
    lost = sorted(name(page) for page in pages_of_docs - named)
    assert not lost, f"docs/README.md has no row for {', '.join(lost)}; add one"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("make demoo", "no target demoo"),
        ("thunderhead run -f examples/digits/job.yaml --frsh", "--frsh"),
        ("thunderhead runn -f examples/digits/job.yaml", "runn"),
        ("thunderhead run -f examples/digits/jobs.yaml", "there is no examples/digits/jobs.yaml"),
        ("thunderhead run -f lost.yaml", "there is no"),
        ("python -m thunderhead.lost", "no module thunderhead.lost"),
        ("python lost.py", "no lost.py"),
        ("helm install x charts/thunderhead -n x --set image.repo=x", "no value image.repo"),
        ("helm upgrade x charts/thunderhead", "names no namespace"),
        ("kubectl create configmap x --from-file=examples/lost.py", "there is no examples/lost.py"),
        ("frobnicate", "what is frobnicate"),
    ],
)
def test_a_command_that_is_not_there_is_found_out(command: str, said: str) -> None:
    (words,) = doc_shell.commands(command)
    assert said in (doc_shell.problem(words) or "")


def test_a_job_that_is_wrong_is_found_out(tmp_path: Path) -> None:
    block = Block("yaml", "spec: {nodes: 0}", 1, None)
    with pytest.raises(AssertionError, match=r"spec\.nodes"):
        check_job(block, tmp_path, "here")
