from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chartproof import cli
from chartproof.aws import account, directory
from chartproof.aws.target import PLACEHOLDERS, Target, file_name, role_name, word
from chartproof.errors import InputError
from chartproof.report import aws_report
from tests import presets
from tests.aws.releases import TARGET, described, release

USAGE, COULD_NOT_RUN = 2, 3
Run = Callable[..., tuple[int, str, str]]
READER = """
apiVersion: v1
kind: Pod
metadata: {name: engine}
spec:
  serviceAccountName: engine
  containers: [{name: main, image: quay.io/a/b, command: [get, s3://weights/llama]}]
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_it(*words: object) -> tuple[int, str, str]:
        code = cli.main(["aws-prerequisites", *map(str, words)])
        out, err = capsys.readouterr()
        return code, out, err

    return run_it


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "engine.yaml"
    path.write_text(READER)
    return path


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, str):
        yield value


def _commands(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from each if key == "commands" else _commands(each)
    elif isinstance(value, list):
        for each in value:
            yield from _commands(each)


def test_json_is_complete_and_text_readable(run: Run, manifest: Path) -> None:
    account_words = ("--account", "123456789012", "--cluster", "prod", "--region", "eu-central-1")
    code, out, err = run(manifest, "--format", "json", *account_words)
    assert (code, err) == (0, "")
    [found] = json.loads(out)["prerequisites"]
    assert found["identities"] == account.describe(release(READER, "default"), TARGET)["identities"]
    assert found["identities"][0]["roleArn"] == "arn:aws:iam::123456789012:role/default-engine"
    code, out, _ = run(manifest, *account_words)
    assert code == 0
    assert "default/engine by EKS Pod Identity, role default-engine" in out
    assert "may s3:GetObject on arn:aws:s3:::weights/llama/*" in out


def test_placeholders_are_listed_once_at_the_end_of_all_releases(run: Run, manifest: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(READER)
    _, out, _ = run(manifest, other)
    _, _, listed = out.partition("replace before use\n")
    names = [line.split()[0] for line in listed.splitlines()]
    assert names == sorted(set(names), key=list(PLACEHOLDERS).index)
    assert {"<ACCOUNT_ID>", "<CLUSTER_NAME>", "<REGION>", "<OIDC_ID>"} <= set(names)
    _, out, _ = run(manifest, "--account", "123456789012", "--cluster", "prod", "--region", "eu-central-1")
    assert "<ACCOUNT_ID>" not in out.partition("replace before use")[2]


@pytest.mark.parametrize("stem", presets.STEMS)
def test_every_placeholder_of_a_preset_is_explained(stem: str) -> None:
    found = account.describe(presets.render(stem), Target())
    explained = {each["placeholder"] for each in found.pop("placeholders")}
    used = {match for text in _strings(found) for match in re.findall(r"<[A-Z0-9_]+>", text)}
    assert used == explained & used
    assert used <= set(PLACEHOLDERS)


@pytest.mark.parametrize("stem", presets.STEMS)
def test_text_shows_every_command_and_each_finds_the_files_that_it_names(stem: str) -> None:
    found = account.describe(presets.render(stem), Target())
    page = aws_report.text(found)
    files = account.files(found)
    for command in _commands(found):
        assert command in page
        for name in re.findall(r"file://(\S+)", command):
            assert name in files


def test_a_release_without_aws_says_so() -> None:
    page = aws_report.text(described("{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}"))
    assert "nothing: no bucket, registry, node class, quota or storage of AWS is rendered" in page


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--account", "12345"),
        ("--account", "my-account"),
        ("--cluster", "arn:aws:eks:eu-central-1:123456789012:cluster/prod"),
        ("--cluster", "a b"),
        ("--region", "eu-central-1a"),
        ("--region", "Frankfurt"),
    ],
)
def test_account_cluster_and_region_that_cannot_be_are_refused(
    run: Run, manifest: Path, option: str, value: str
) -> None:
    code, out, err = run(manifest, option, value)
    assert (code, out) == (USAGE, "")
    assert err.startswith(f"error: {option}: {value!r} cannot be right")
    assert "fix: write" in err


def test_input_that_is_missing_or_broken_is_told(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere.yaml")[0] == COULD_NOT_RUN
    broken = tmp_path / "broken.yaml"
    broken.write_text("kind: [")
    code, _, err = run(broken)
    assert code == COULD_NOT_RUN
    assert "broken.yaml" in err
    assert run()[0] == USAGE


def test_manifests_of_odd_shapes_do_not_break_it() -> None:
    odd = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: odd}
spec: {template: {spec: {containers: [{name: a, command: get, args: null, env: null, image: null}], volumes: null}}}
---
{apiVersion: karpenter.sh/v1, kind: NodePool, metadata: {name: odd}, spec: {limits: {nvidia.com/gpu: many}}}
---
{apiVersion: karpenter.k8s.aws/v1, kind: EC2NodeClass, metadata: {name: odd}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: odd}}
---
{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: odd}}
"""
    assert aws_report.text(described(odd))


def test_files_are_written_whole_and_replace_older_ones(run: Run, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "policies"
    for region in ("eu-west-1", "eu-central-1"):
        code, _, err = run(manifest, "--out", out, "--region", region, "--account", "123456789012")
        assert code == 0
        assert f"files; run the commands in {out}/<release>" in err
    [written] = out.iterdir()
    found = {each.name: json.loads(each.read_text()) for each in written.iterdir()}
    assert "default.engine.permissions.json" in found
    assert "eu-central-1" in json.dumps(found["default.engine.trust-irsa.json"])


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    directory.write(tmp_path, {"a": {"one.json": {"old": 1}}})
    (tmp_path / "b").write_text("not a directory")
    with pytest.raises(InputError, match="cannot write"):
        directory.write(tmp_path, {"a": {"one.json": {"new": 1}}, "b": {"two.json": {}}})
    assert json.loads((tmp_path / "a" / "one.json").read_text()) == {"old": 1}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "b"]


def test_directory_that_cannot_be_made_is_told(run: Run, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = run(manifest, "--out", tmp_path / "file" / "below")
    assert code == COULD_NOT_RUN
    assert "give --out a directory you may write to" in err


def test_names_of_files_never_leave_their_directory() -> None:
    assert file_name("node-role", "../../etc/passwd", "trust.json") == "node-role...-..-etc-passwd.trust.json"
    assert file_name("..") == "release"
    assert "/" not in file_name("/a/b", "c d")


def test_words_of_commands_are_quoted_where_a_shell_would_misread_them() -> None:
    assert word("KarpenterNodeRole-<CLUSTER_NAME>") == "KarpenterNodeRole-<CLUSTER_NAME>"
    for text in ("a; rm -rf $HOME", "a>b", "<a"):
        assert word(text) != text
        assert shlex.split(word(text)) == [text]


def test_long_role_names_are_shortened_and_stay_distinct() -> None:
    one, other = role_name("llm", "a" * 70), role_name("llm", "a" * 71)
    assert len(one) == len(other) == 64
    assert one != other
    assert role_name("llm", "engine") == "llm-engine"


@pytest.mark.parametrize(
    ("region", "partition", "endpoint"),
    [
        ("eu-central-1", "aws", "com.amazonaws.eu-central-1.s3"),
        ("cn-north-1", "aws-cn", "cn.com.amazonaws.cn-north-1.s3"),
        ("us-gov-west-1", "aws-us-gov", "com.amazonaws.us-gov-west-1.s3"),
    ],
)
def test_partition_follows_the_region(region: str, partition: str, endpoint: str) -> None:
    found = described(READER, Target("123456789012", "prod", region))
    assert found["identities"][0]["roleArn"].startswith(f"arn:{partition}:iam:")
    assert endpoint in {each["service"] for each in found["endpoints"]}
