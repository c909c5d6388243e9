"""What a job's podTemplate may ask for: the operator's rules, and the same as CEL under the API server's own code."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from policy_cases import ALLOWED, CASES, KEY, pod, volume

from e2e.cluster.build import build
from thunderhead_api.schema import crd
from thunderhead_operator.plan.policy import Deny, Policy, parse_policy, violations

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def rules_of(template: Manifest, **policy: list[str]) -> set[Deny]:
    return {violation.rule for violation in violations(template, parse_policy(policy))}


@pytest.mark.parametrize(("rule", "template"), CASES, ids=lambda v: v if isinstance(v, str) else json.dumps(v)[:60])
def test_each_is_denied_by_its_rule_and_allowed_by_its_name(rule: Deny, template: Manifest) -> None:
    assert rules_of(template) == {rule}
    assert rules_of(template, allow=[rule.value]) == set()
    (first, *_) = violations(template, Policy())
    assert str(first).startswith("spec.podTemplate.")
    assert f"policy.allow: [{rule}]" in str(first)


@pytest.mark.parametrize("template", ALLOWED, ids=lambda v: json.dumps(v)[:60])
def test_what_stays_in_the_pod_is_allowed(template: Manifest) -> None:
    assert violations(template, Policy()) == []


def test_a_listed_service_account_may_have_its_token() -> None:
    template = pod(serviceAccountName="trainer", automountServiceAccountToken=True)
    assert rules_of(template, serviceAccounts=["trainer"]) == set()
    assert rules_of(template, serviceAccounts=["default"]) == {Deny.SERVICE_ACCOUNT}
    assert rules_of(pod(automountServiceAccountToken=True), serviceAccounts=["default"]) == set()


@pytest.mark.parametrize("wrong", [[], {"allow": "hostPath"}, {"allow": ["hostPaths"]}, {"alow": []}, {"allow": [1]}])
def test_a_policy_that_means_nothing_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"are no rules; there are .*hostPath|must be an object"):
        parse_policy(wrong)


# --- the same as CEL


def admission(manifests: list[Manifest]) -> Manifest:
    (policy,) = (m for m in manifests if m["kind"] == "ValidatingAdmissionPolicy")
    return policy


def as_crd(policy: Manifest, *, update: bool) -> Manifest:
    """The policy's validations as rules of the definition itself, which the API server's code in hand can judge.

    An admission policy is not refused for what it may cost at most, a definition is: so bounds are small here, and
    lists that are not there have defaults in the place of the variables' own (which are evaluated by a rule each).
    """
    spec = policy["spec"]
    (match,) = (condition["expression"] for condition in spec["matchConditions"])
    asked = match.replace("request.operation == 'CREATE'", "false") if update else "has(object.spec.podTemplate)"
    rules = [{"rule": f"!({asked}) || size({v['expression']}) >= 0", "message": v["name"]} for v in spec["variables"]]
    for validation in spec["validations"]:
        rule = validation["expression"]
        for variable in spec["variables"]:
            rule = re.sub(rf"variables\.{variable['name']}\b", written_out(variable["expression"]), rule)
        guard = "!has(object.spec.podTemplate.spec) || " if "spec.volumes" in rule or "ontainers.all" in rule else ""
        rules.append({"rule": f"!({asked}) || {guard}({rule})", "message": validation["message"]})
    for made in rules:
        made["rule"] = made["rule"].replace("oldObject.", "oldSelf.").replace("object.", "self.")
    definition = copy.deepcopy(crd())
    root = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    root["x-kubernetes-validations"] = rules
    template = root["properties"]["spec"]["properties"]["podTemplate"]
    bound(template)
    template["properties"]["metadata"] |= {"default": {}}
    template["properties"]["metadata"]["properties"]["annotations"]["default"] = {}
    for name in ("containers", "initContainers", "volumes"):
        template["properties"]["spec"]["properties"][name]["default"] = []
    return definition


def written_out(variable: str) -> str:
    """What a variable stands for where it is there; a string's own fallback stays."""
    there = re.fullmatch(r"(?s).*\? (\S+) : (\[\]|\{\})", variable)
    return there.group(1) if there else f"({variable})"


def bound(schema: Manifest) -> None:
    for key, small in (("maxItems", 3), ("maxProperties", 3)):
        if key in schema:
            schema[key] = small
    if schema.get("type") == "string" and "enum" not in schema:
        schema["maxLength"] = 64
    for child in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(child, dict):
            bound(child)


def refusals(made: Manifest, cases: Sequence[Manifest], where: Path) -> list[list[str]]:
    """Messages of the rules that each case breaks."""
    where.write_text(json.dumps(made))
    program = build("crdlint") / "crdlint"
    done = subprocess.run(
        [program, where], input=json.dumps(cases), capture_output=True, text=True, timeout=300, check=True
    )
    report = json.loads(done.stdout)
    assert report["crd"] == [], [e["detail"][:300] for e in report["crd"]]
    return [[error["detail"] for error in verdict["errors"]] for verdict in report["verdicts"]]


def job(template: Manifest | None, **spec: Any) -> Manifest:
    base = {"module": {"class_path": "a.B"}, "checkpoint": {"uri": "s3://bucket/a"}, **spec}
    return {
        "apiVersion": "thunderhead.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "a", "namespace": "b", "resourceVersion": "1"},
        "spec": base | ({} if template is None else {"podTemplate": template}),
    }


@pytest.mark.timeout(900)  # the first run compiles the judge
def test_the_admission_policy_says_the_same_of_a_new_job(render: Render, tmp_path: Path) -> None:
    made = as_crd(admission(render({})), update=False)
    texts = [{"text": json.dumps(job(template))} for template in [*(t for _, t in CASES), *ALLOWED]]
    found = refusals(made, texts, tmp_path / "crd.yaml")
    for (rule, template), messages in zip(CASES, found, strict=False):
        assert len(messages) == 1, (rule, template, messages)
        assert f"policy.allow: [{rule}]" in messages[0], (template, messages)
    assert found[len(CASES) :] == [[]] * len(ALLOWED)


@pytest.mark.timeout(900)
def test_the_admission_policy_follows_the_sites_choice(render: Render, tmp_path: Path) -> None:
    choice = {"allow": ["hostPath", "rootUser"], "serviceAccounts": ["trainer", "default"]}
    made = as_crd(admission(render({"policy": choice})), update=False)
    templates = [
        *(t for _, t in CASES),
        pod(serviceAccountName="trainer", automountServiceAccountToken=True),
        pod(serviceAccountName="other"),
        volume(flexVolume={"driver": "a/b", "secretRef": {"name": KEY}}),
    ]
    found = refusals(made, [{"text": json.dumps(job(template))} for template in templates], tmp_path / "crd.yaml")
    for template, messages in zip(templates, found, strict=True):
        wanted = {violation.rule for violation in violations(template, parse_policy(choice))}
        assert len(messages) == len(wanted), (template, messages)
        assert all(f"policy.allow: [{rule}]" in message for rule in wanted for message in messages)


@pytest.mark.timeout(900)
def test_a_job_that_was_there_before_the_policy_can_still_be_suspended(render: Render, tmp_path: Path) -> None:
    made = as_crd(admission(render({})), update=True)
    bad, worse = pod(hostPID=True), pod(hostPID=True, hostIPC=True)
    changes = [
        (job(bad), job(bad, suspend=True)),
        (job(bad), job(worse)),
        (job(None), job(bad)),
        (job(bad), job(None)),
        (job(bad), job({})),
    ]
    cases = [{"text": json.dumps(new), "old": json.dumps(old)} for old, new in changes]
    found = refusals(made, cases, tmp_path / "crd.yaml")
    assert [len(messages) for messages in found] == [0, 1, 1, 0, 0]


NAMESPACED = {"scope": "namespaced"}


@pytest.mark.parametrize(
    ("rbac", "enabled", "bound_to"),
    [
        ({}, None, []),
        ({}, True, []),
        ({}, False, None),
        (NAMESPACED, None, None),
        (NAMESPACED, False, None),
        (NAMESPACED, True, ["team-a", "team-b"]),
    ],
    ids=str,
)
def test_where_it_is_rendered_and_whom_it_binds(
    rbac: Manifest, enabled: bool | None, bound_to: list[str] | None, render: Render
) -> None:
    """``bound_to``: namespaces, empty: all of them; None: it is not there."""
    kinds = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    watch = {"watchNamespaces": ["team-a", "team-b"]} if rbac else {}
    found = {m["kind"]: m for m in render({"rbac": rbac, "policy": {"admission": {"enabled": enabled}}} | watch)}
    if bound_to is None:
        assert not kinds & set(found)
        return
    for kind in kinds:
        kubernetes_validate.validate(found[kind], "1.36", strict=True)
        assert "namespace" not in found[kind]["metadata"]
    binding = found["ValidatingAdmissionPolicyBinding"]["spec"]
    assert binding["policyName"] == found["ValidatingAdmissionPolicy"]["metadata"]["name"]
    by_name = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": bound_to}
    selector = {"namespaceSelector": {"matchExpressions": [by_name]}}
    assert binding.get("matchResources") == (selector if bound_to else None)


def test_the_operator_is_told_the_same(render: Render) -> None:
    choice = {"allow": ["hostPath"], "serviceAccounts": ["trainer"]}
    (deployment,) = (m for m in render({"policy": choice}) if m["kind"] == "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    (told,) = (a.removeprefix("--policy=") for a in arguments if a.startswith("--policy="))
    assert parse_policy(json.loads(told)) == Policy(frozenset(["hostPath"]), frozenset(["trainer"]))
