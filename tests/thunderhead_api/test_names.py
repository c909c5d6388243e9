"""Names of jobs and of their children."""

from __future__ import annotations

import itertools
import re

import pytest

from thunderhead_api import names

UID = "e26557aa-d20f-4156-9b8f-fc65078b3146"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize("name", ["a", "a1", "a-b", "a--b", "x" * 40])
def test_takes(name: str) -> None:
    assert names.job_name_problem(name) is None


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "A", "a.b", "a_b", "a\n", "é", "x" * 41])
def test_refuses(name: str) -> None:
    assert names.job_name_problem(name)


def test_the_longest_names_are_dns_labels() -> None:
    job, attempt = "x" * names.JOB_NAME_MAX, 10**16
    for name in (
        names.pod_name(job, attempt, 9_999),
        names.service_name(job),
    ):
        assert DNS_LABEL.fullmatch(name)
        assert len(name) <= 63
    assert DNS_LABEL.fullmatch(names.code_config_map_name(job, UID, attempt))  # a subdomain: up to 253


def test_no_two_jobs_share_a_child() -> None:
    jobs = ["a", "a-1", "a-1-1", "a-code", "a-1-code"]
    numbers = range(1, 4)
    pods = [names.pod_name(*each) for each in itertools.product(jobs, numbers, range(3))]
    maps = [
        name(j, uid, n)
        for name in (names.job_config_map_name, names.code_config_map_name)
        for j, uid, n in itertools.product(jobs, (UID, "7d0c5a44-0000"), numbers)
    ]
    assert len(set(pods)) == len(pods)
    assert len(set(maps)) == len(maps)


def test_rendezvous_host_is_node_zero_below_the_service() -> None:
    assert names.rendezvous_host("digits", 3, "team") == "digits-3-0.digits.team.svc"
