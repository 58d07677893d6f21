"""Every wrong input ends with the documented exit code and a message that says what, where and how to fix it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Write = Callable[[str, str | bytes], Path]

USAGE = 2
COULD_NOT_RUN = 3


def test_unknown_key_is_named_with_its_line_and_the_key_that_was_meant(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "replicas: 1\nnested:\n  prot: 8000\n")
    result = run("check", "--chart", tiny, preset)
    assert result.code == COULD_NOT_RUN
    assert f"{preset}:3: nested.prot: unknown key; did you mean port?" in result.stderr


def test_unknown_key_without_a_close_one_lists_what_is_known(run: Run, tiny: Path) -> None:
    result = run("check", tiny, "--set", "zzz=1")
    assert result.code == COULD_NOT_RUN
    assert "zzz: unknown key; known are annotations" in result.stderr


def test_unknown_key_of_a_subchart_is_named_from_the_root(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "part:\n  prot: 1\n")
    result = run("check", "--chart", tiny, preset)
    assert result.code == COULD_NOT_RUN
    assert f"{preset}:2: part.prot: unknown key; did you mean port?" in result.stderr


def test_value_that_set_gives_is_not_blamed_on_a_file(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "replicas: 0\nnested: {port: 2}\n")
    result = run("check", "--chart", tiny, preset, "--set", "nested.port=1")
    assert f"{preset}:1: [LLM211] replicas:" in result.stderr
    assert "--set: [LLM016] nested.port:" in result.stderr


def test_wrong_type_is_named_with_its_line(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "nested: {}\nreplicas: two\n")
    result = run("check", "--chart", tiny, preset)
    assert result.code == COULD_NOT_RUN
    assert f"{preset}:2: replicas: got string, want integer" in result.stderr


def test_every_contradiction_is_told_at_once_with_its_rule(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "replicas: 0\nnested: {port: 1}\n")
    result = run("check", "--chart", tiny, preset)
    assert result.code == COULD_NOT_RUN
    lines = [line.strip() for line in result.stderr.splitlines()]
    assert f"{preset}:1: [LLM211] replicas: nothing wakes a model at zero; set replicas to 1 or more" in lines
    assert f"{preset}:2: [LLM016] nested.port: port 1 is reserved; use 8000" in lines


@pytest.mark.parametrize("command", ["check", "render"])
def test_missing_file(run: Run, command: str) -> None:
    result = run(command, "values/no-such-preset.yaml")
    assert result.code == COULD_NOT_RUN
    assert "values/no-such-preset.yaml: no such file" in result.stderr
    assert "fix:" in result.stderr


def test_missing_values_file(run: Run, tiny: Path) -> None:
    result = run("check", "--chart", tiny, "-f", "no-such.yaml")
    assert result.code == COULD_NOT_RUN
    assert "no-such.yaml: no such file" in result.stderr


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("replicas: 1\nnested: [\n", 3, "did not find expected node content"),
        ("replicas: 1\nreplicas: 2\n", 2, "'replicas' is given twice"),
        ("a: 1\n\tb: 2\n", 2, "a tab character"),
        ("a: *nowhere\n", 1, "unknown anchor 'nowhere'"),
    ],
)
def test_broken_yaml_is_named_with_its_line(
    run: Run, write: Write, tiny: Path, *, text: str, line: int, problem: str
) -> None:
    preset = write("a.yaml", text)
    result = run("check", "--chart", tiny, preset)
    assert result.code == COULD_NOT_RUN
    assert f"{preset}:{line}: not valid YAML: " in result.stderr
    assert problem in result.stderr


def test_values_that_are_no_mapping(run: Run, write: Write, tiny: Path) -> None:
    result = run("check", "--chart", tiny, write("a.yaml", "- 1\n"))
    assert result.code == COULD_NOT_RUN
    assert "values are a mapping of keys" in result.stderr


def test_template_that_renders_broken_yaml_is_shown_with_the_line(run: Run, write: Write, tiny: Path) -> None:
    result = run("check", "--chart", tiny, write("a.yaml", "raw: '  broken: ['\n"))
    assert result.code == COULD_NOT_RUN
    assert "tiny/templates/deployment.yaml renders broken YAML" in result.stderr
    assert "|   broken: [" in result.stderr


def test_template_that_renders_a_key_twice(run: Run, write: Write, tiny: Path) -> None:
    result = run("check", "--chart", tiny, write("a.yaml", "raw: '  at: again'\n"))
    assert result.code == COULD_NOT_RUN
    assert "the key 'at' is given twice in one mapping, in 'at: again'" in result.stderr


def test_template_that_fails_on_a_value_is_named(run: Run, tiny: Path) -> None:
    result = run("check", tiny, "--set", "nested=null")
    assert result.code == COULD_NOT_RUN
    assert "tiny/templates/deployment.yaml" in result.stderr
    assert "nil pointer" in result.stderr
    assert "Use --debug" not in result.stderr


def test_set_that_is_no_assignment(run: Run, tiny: Path) -> None:
    result = run("check", tiny, "--set", "replicas")
    assert result.code == COULD_NOT_RUN
    assert "--set" in result.stderr
    assert "fix: write --set key.path=value" in result.stderr


def test_helm_that_does_not_exist(run_process: Run, tiny: Path) -> None:
    result = run_process("check", tiny, CHARTPROOF_HELM="/no/such/helm")
    assert result.code == COULD_NOT_RUN
    assert "$CHARTPROOF_HELM: /no/such/helm does not exist" in result.stderr
    assert "fix:" in result.stderr
    assert "Traceback" not in result.stderr


def test_helm_that_is_another_program(run_process: Run, tiny: Path) -> None:
    result = run_process("check", tiny, CHARTPROOF_HELM=sys.executable)
    assert result.code == COULD_NOT_RUN
    assert "is not helm" in result.stderr


def test_helm_that_is_missing_and_cannot_be_built(run_process: Run, tiny: Path, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "empty")
    result = run_process(
        "check", tiny, PATH="", CHARTPROOF_HELM="", CHARTPROOF_GO="", XDG_CACHE_HOME=nowhere, PIP_NO_INDEX="1"
    )
    assert result.code == COULD_NOT_RUN
    assert "helm, which renders charts, is missing and could not be built" in result.stderr
    assert "or set CHARTPROOF_HELM to a helm 4 program" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("text", [b"", b"\n\n", b"---\n---\n", b"# nothing\n", b"\xef\xbb\xbf"])
def test_empty_stream_is_not_a_clean_one(run: Run, text: bytes) -> None:
    result = run("check", "-", stdin=text)
    assert result.code == COULD_NOT_RUN
    assert "there is no Kubernetes object in it" in result.stderr


def test_empty_file(run: Run, write: Write) -> None:
    result = run("check", write("empty.yaml", ""))
    assert result.code == COULD_NOT_RUN
    assert "there is no Kubernetes object in it" in result.stderr


def test_directory_without_manifests(run: Run, tmp_path: Path) -> None:
    result = run("check", tmp_path)
    assert result.code == COULD_NOT_RUN
    assert "no manifest in this directory" in result.stderr


@pytest.mark.parametrize(
    ("text", "line", "kind"), [("a: 1\n---\n- b\n", 3, "a list"), ("kind: A\n---\n\n---\njust text\n", 5, "text")]
)
def test_document_that_is_no_mapping_is_named_with_its_line(run: Run, text: str, line: int, kind: str) -> None:
    result = run("check", "-", stdin=text.encode())
    assert result.code == COULD_NOT_RUN
    assert f"-:{line}: a Kubernetes object is a mapping, this is {kind}" in result.stderr


def test_list_with_an_item_that_is_no_object(run: Run) -> None:
    result = run("check", "-", stdin=b'{"kind": "List", "apiVersion": "v1", "items": [7]}')
    assert result.code == COULD_NOT_RUN
    assert "items[0] of the list is a number" in result.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x7fELF\x02\x01\x01\x00\x00\x00", "a binary file"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8 text (byte 0 is 0x89)"),
        ("kind: Pod\n".encode("utf-16"), "a binary file"),
        (b"kind: Pod\n" * 200_000 + b"\0", "a binary file"),
    ],
)
def test_binary_file(run: Run, write: Write, content: bytes, problem: str) -> None:
    path = write("image.yaml", content)
    for words, stdin in ((("check", path), b""), (("check", "-"), content)):
        result = run(*words, stdin=stdin)
        assert result.code == COULD_NOT_RUN
        assert problem in result.stderr
        assert "fix: name a YAML or JSON file" in result.stderr


def test_aliases_that_expand_without_end(run: Run) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    result = run("check", "-", stdin="\n".join(["kind: ConfigMap", *lines]).encode())
    assert result.code == COULD_NOT_RUN
    assert "expand to an excessive size" in result.stderr


def test_nesting_that_no_object_has(run: Run) -> None:
    for text in (b"[" * 100_000, b'{"a":' * 100_000):
        result = run("check", "-", stdin=text)
        assert result.code == COULD_NOT_RUN
        assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_manifest_of_ten_megabytes_is_handled(run_process: Run) -> None:
    one = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-{}\ndata:\n  text: |\n" + "    line\n" * 120
    stream = "---\n".join(one.format(number) for number in range(10_000))
    assert len(stream) > 10_000_000
    result = run_process("check", "-", stdin=stream.encode())
    assert result.code == 0, result.stderr
    assert "10000 documents  clean" in result.stdout


def test_one_gigabyte_on_standard_input_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    endless = tmp_path / "endless.yaml"
    with endless.open("wb") as file:  # sparse, then not: zeros alone would be refused as binary at once
        file.write(b"# a line of text\n" * 100_000)
    script = "import sys; chunk = open(sys.argv[1], 'rb').read()\nfor _ in range(640): sys.stdout.buffer.write(chunk)"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(endless)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as writer:
        done = subprocess.run(
            [sys.executable, "-m", "chartproof", "check", "-"],
            stdin=writer.stdout,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000)),
        )
        if writer.stdout:
            writer.stdout.close()
        writer.kill()
    assert done.returncode == COULD_NOT_RUN
    assert "larger than 256 MB" in done.stderr


def test_file_of_one_gigabyte_is_refused_before_it_is_read(run: Run, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse.yaml"
    with sparse.open("wb") as file:
        file.truncate(1_000_000_000)
    result = run("check", sparse)
    assert result.code == COULD_NOT_RUN
    assert "larger than 256 MB" in result.stderr


def test_chart_that_does_not_exist(run: Run) -> None:
    result = run("check", "--chart", "no/such/chart")
    assert result.code == COULD_NOT_RUN
    assert "no/such/chart: there is no such chart" in result.stderr


def test_chart_without_chart_yaml(run: Run, tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    result = run("check", "--chart", tmp_path)
    assert result.code == COULD_NOT_RUN
    assert "not a chart: it has no Chart.yaml" in result.stderr


@pytest.mark.parametrize(
    ("chart_yaml", "problem"), [("a: [", "cannot load Chart.yaml"), ("apiVersion: v2\nname: x\n", "version")]
)
def test_chart_that_cannot_be_read(run: Run, write: Write, chart_yaml: str, problem: str) -> None:
    chart = write("chart/Chart.yaml", chart_yaml).parent
    result = run("check", "--chart", chart)
    assert result.code == COULD_NOT_RUN
    assert problem in result.stderr
    assert "fix:" in result.stderr


def test_chart_archive_that_is_none(run: Run, write: Write) -> None:
    result = run("check", "--chart", write("chart.tgz", os.urandom(2000)))
    assert result.code == COULD_NOT_RUN
    assert "does not appear to be a gzipped archive" in result.stderr


def test_chart_with_a_missing_dependency_says_which_command_gets_it(run: Run, write: Write) -> None:
    chart = write(
        "chart/Chart.yaml",
        "apiVersion: v2\nname: x\nversion: 0.1.0\n"
        "dependencies: [{name: gpu-operator, version: 1.0.0, repository: https://example.invalid}]\n",
    ).parent
    result = run("check", "--chart", chart)
    assert result.code == COULD_NOT_RUN
    assert "depends on gpu-operator, which is not in its charts directory" in result.stderr
    assert f"fix: run: helm dependency build {chart}" in result.stderr


def test_chart_that_renders_nothing_is_not_clean(run: Run, write: Write) -> None:
    chart = write("chart/Chart.yaml", "apiVersion: v2\nname: x\nversion: 0.1.0\n").parent
    result = run("check", "--chart", chart)
    assert result.code == COULD_NOT_RUN
    assert "nothing is rendered with these values" in result.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["check"], "nothing to look at"),
        (["check", "-", "-"], "standard input can be read once"),
        (["check", "-", "--set", "a=1"], "this input is rendered already"),
        (["check", "a.yaml", "--fail-on", "fatal"], "invalid choice: 'fatal'"),
        (["check", "a.yaml", "--select", "LLM9999"], "there is no rule 'LLM9999'"),
        (["check", "a.yaml", "--select", "LLM0", "--ignore", "LLM0"], "no rule is left"),
        (["explain", "cooldown-below-cold-strat"], "there is no rule"),
        (["explain"], "required: RULE"),
        (["no-such-command"], "invalid choice: 'no-such-command'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_usage(run: Run, words: list[str], problem: str) -> None:
    result = run(*words)
    assert result.code == USAGE
    assert problem in result.stderr
    assert not result.stdout


def test_same_preset_twice(run: Run, write: Write, tiny: Path) -> None:
    preset = write("a.yaml", "replicas: 1\n")
    result = run("check", "--chart", tiny, preset, preset)
    assert result.code == USAGE
    assert "given twice" in result.stderr


def test_one_name_for_several_releases(run: Run, write: Write, tiny: Path) -> None:
    result = run("check", "--chart", tiny, write("a.yaml", ""), write("b.yaml", ""), "--name", "x")
    assert result.code == USAGE
    assert "--name fits one release only" in result.stderr


def test_file_name_that_cannot_name_a_release(run: Run, write: Write, tiny: Path) -> None:
    result = run("check", "--chart", tiny, write(f"{'a' * 60}.yaml", ""))
    assert result.code == USAGE
    assert "fix: rename the file, or give --name" in result.stderr


def test_report_that_cannot_be_written(run: Run, tiny: Path) -> None:
    result = run("check", tiny, "--output", "/no/such/directory/report.json")
    assert result.code == COULD_NOT_RUN
    assert "/no/such/directory/report.json: the report cannot be written" in result.stderr


def test_one_bad_input_does_not_hide_what_the_others_have(run: Run, write: Write, tiny: Path) -> None:
    good, bad = write("good.yaml", "replicas: 1\n"), write("bad.yaml", "replicas: x\n")
    result = run("check", "--chart", tiny, bad, good)
    assert result.code == COULD_NOT_RUN
    assert "got string, want integer" in result.stderr
    assert "good  4 documents" in result.stdout
    assert "bad  could not be checked" in result.stdout


def test_missing_file_with_values_is_a_missing_file(run: Run) -> None:
    result = run("check", "no-such-preset.yaml", "--set", "a=1")
    assert result.code == COULD_NOT_RUN
    assert "no-such-preset.yaml: no such file" in result.stderr
