"""The post-renderer, also as Helm runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chartproof import kubernetes_yaml, toolchain
from chartproof.cluster import node_classes, post_renderer
from chartproof.cluster.time_scale import condensed, scaled_all
from chartproof.errors import ClusterError, InputError
from tests import presets

FACTOR = 15

STREAM = """\
# Source: a.yaml
apiVersion: v1
kind: ConfigMap
metadata:
  name: unchanged   # and its comment
data:
  script: |
    ---
    sleep 30
--- # next
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: "yes"
  labels: {version: "1e3", "on": "0x10", text: "a\\nb"}
spec:
  endpoints: [{interval: 15s}]
"""


def test_documents_that_stay_are_kept_as_written() -> None:
    text, changes = post_renderer.render(STREAM, FACTOR)
    assert text.startswith("---\n" + STREAM.partition("---")[0])
    assert "sleep 30\n---\napiVersion: monitoring" in text
    assert [str(each) for each in changes] == ["ServiceMonitor/yes spec.endpoints[0].interval: 15s -> 1s"]


def test_changed_documents_keep_their_values_for_every_reader() -> None:
    text, _ = post_renderer.render(STREAM, FACTOR)
    (_, before), (_, after) = ([body for _, body in kubernetes_yaml.documents(each) if body] for each in (STREAM, text))
    assert before["metadata"] == after["metadata"]
    for quoted in ('"yes"', '"1e3"', '"on": "0x10"'):
        assert quoted in text


@pytest.mark.parametrize("text", ["", "\n", "---\n# nothing\n---\n"])
def test_an_empty_stream_stays_empty(text: str) -> None:
    assert post_renderer.render(text, FACTOR) == ("", [])


def test_what_is_no_yaml_is_refused() -> None:
    with pytest.raises(InputError, match="not YAML"):
        post_renderer.render("a: [", FACTOR)


def test_the_program_filters_its_input() -> None:
    command = [sys.executable, "-m", "chartproof.cluster.post_renderer", "--factor", "15"]
    result = subprocess.run(command, input=STREAM, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == post_renderer.render(STREAM, FACTOR)[0]


def test_an_error_reaches_the_caller_although_helm_hides_it(tmp_path: Path) -> None:
    changes = tmp_path / "changes"
    command = [sys.executable, "-m", "chartproof.cluster.post_renderer", "--factor", "15", "--changes", str(changes)]
    broken = STREAM.replace("interval: 15s", "interval: 1.5m")
    result = subprocess.run(command, input=broken, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (3, "")
    with pytest.raises(ClusterError, match=r"ServiceMonitor/yes spec.endpoints\[0\].interval"):
        post_renderer.read_changes(changes)


def test_options_forget_the_changes_of_an_earlier_run(tmp_path: Path) -> None:
    changes = tmp_path / "changes"
    changes.write_text("old\n")
    assert str(changes) in post_renderer.options(changes)
    assert post_renderer.read_changes(changes) == []


@pytest.mark.slow
@pytest.mark.parametrize("stem", presets.STEMS)
def test_helm_renders_through_it(stem: str, tmp_path: Path) -> None:
    # Blanks in a path are where command lines break.
    data, changes = tmp_path / "helm data", tmp_path / "the changes"
    post_renderer.install(data, FACTOR)
    found = _template(stem, data, *post_renderer.options(changes))
    plain = _template(stem, data)
    assert list(plain) != []
    bodies, expected = scaled_all(plain.values(), FACTOR)
    bodies, more = node_classes.played(bodies, FACTOR)
    assert found == {_key(each): each for each in bodies}
    assert sorted(post_renderer.read_changes(changes)) == sorted(condensed([*expected, *more]))


@pytest.mark.slow
def test_helm_fails_where_the_post_renderer_does(tmp_path: Path) -> None:
    post_renderer.install(tmp_path, 0)
    with pytest.raises(subprocess.CalledProcessError):
        _template(presets.STEMS[0], tmp_path, *post_renderer.options(tmp_path / "changes"))
    with pytest.raises(ClusterError, match="time cannot run"):
        post_renderer.read_changes(tmp_path / "changes")


def _key(body: object) -> str:
    assert isinstance(body, dict)
    return f"{body['apiVersion']} {body['kind']} {body['metadata']['name']}"


def _template(stem: str, data: Path, *options: str) -> dict[str, dict[str, object]]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HELM_")}
    result = subprocess.run(
        [toolchain.resolve("helm"), "template", stem, presets.CHART, "--values", presets.path_of(stem), *options],
        env={**environment, "HELM_DATA_HOME": str(data)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {_key(body): body for _, body in kubernetes_yaml.documents(result.stdout) if body}
