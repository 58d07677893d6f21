"""Generated files are current, and generators refuse sources they cannot use."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from chartproof import catalog
from chartproof.reserved_rules import documented_rules
from ci.generate import __main__ as program
from ci.generate import artifacts, charts, preset_table, values_comments
from ci.generate.artifacts import Artifact, GenerationError
from tests import presets


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty repository that generators take for ours."""
    for module in (artifacts, charts, values_comments):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    (tmp_path / "charts" / "x").mkdir(parents=True)
    return tmp_path


def make_chart(root: Path, values: str, schema: str, readme: str = "") -> Path:
    chart = root / "charts" / "x"
    (chart / "values.yaml").write_text(values)
    (chart / "values.schema.yaml").write_text(schema)
    if readme:
        (chart / "README.md").write_text(readme)
    return chart.relative_to(root)


@pytest.mark.parametrize(
    "name",
    # The claims take a simulated week.
    [pytest.param(each, marks=pytest.mark.slow) if each == "claims" else each for each in program.GENERATORS],
)
def test_generated_files_are_current(name: str) -> None:
    stale = [str(each.path) for each in program.artifacts([name]) if each.is_stale]
    assert not stale, "run `make generate`"


def test_check_tells_stale_files_and_writes_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "artifacts", lambda _names: [Artifact(Path("a.md"), "new\n")])
    assert program.main(["--check"]) == 1
    assert "a.md is stale; run `make generate`" in capsys.readouterr().err
    assert not (root / "a.md").exists()
    assert program.main([]) == 0
    assert (root / "a.md").read_text() == "new\n"
    assert program.main(["--check"]) == 0


def test_page_of_a_retired_rule_is_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "old.md").write_text("old\n")
    monkeypatch.setattr(program, "artifacts", lambda _names: [Artifact(Path("old.md"), None)])
    assert program.main([]) == 0
    assert not (root / "old.md").exists()


def test_schema_takes_descriptions_from_the_comments(root: Path) -> None:
    chart = make_chart(
        root,
        "# -- First\na: 1\n# -- Open map\nmap:\n  key:\n    # -- Inner\n    value: 2\n",
        "properties:\n  a: {type: integer}\n  map: {additionalProperties: {$ref: '#/$defs/entry'}}\n"
        "$defs: {entry: {properties: {value: {type: integer, description: Own}}}}\n",
    )
    schema = json.loads(charts.schema(chart, values_comments.read(chart / "values.yaml")))
    assert schema["properties"]["a"] == {"type": "integer", "description": "First"}
    assert schema["properties"]["map"]["description"] == "Open map"
    assert schema["$defs"]["entry"]["properties"]["value"]["description"] == "Own"


def test_key_without_comment_is_refused_with_its_line(root: Path) -> None:
    chart = make_chart(root, "# -- Known\na: 1\n\nb:\n  c: 2\n", "type: object")
    with pytest.raises(GenerationError, match=r"values\.yaml:5: b\.c has no `# --` comment"):
        values_comments.read(chart / "values.yaml")


def test_key_that_the_schema_lacks_is_refused(root: Path) -> None:
    chart = make_chart(root, "# -- Known\na: 1\n", "properties: {b: {}}\n")
    with pytest.raises(GenerationError, match=r"a of values\.yaml \(line 2\) is not in the schema"):
        charts.schema(chart, values_comments.read(chart / "values.yaml"))


def test_readme_without_markers_is_refused(root: Path) -> None:
    make_chart(root, "# -- A\na: 1\n", "properties: {a: {}}\n", readme="# Chart\n")
    with pytest.raises(GenerationError, match="begin values"):
        list(charts.artifacts())


def test_table_shows_defaults_sections_and_escapes(root: Path) -> None:
    chart = make_chart(
        root,
        '# -- One | two,\n# on two lines.\na: ""\nb:\n  # -- Section\n  c:\n    # -- Leaf\n    # @default -- the moon\n'
        "    d: null\n",
        "{}",
    )
    table = charts.table(values_comments.read(chart / "values.yaml"))
    assert '| `a` | `""` | One \\| two, on two lines. |' in table
    assert "### `b`" in table
    assert "| `b.c` |  | Section |" in table
    assert "| `b.c.d` | `the moon` | Leaf |" in table


def test_header_of_a_preset_names_what_it_lacks(tmp_path: Path) -> None:
    preset = tmp_path / "a.yaml"
    preset.write_text("# A model.\n#\n# For:   somebody\n#        and others\n# Needs: nothing\nmodel: {}\n")
    with pytest.raises(GenerationError, match="lacks Costs"):
        preset_table.header(preset)
    preset.write_text(preset.read_text().replace("\nmodel", "\n# Costs: $1\nmodel"))
    assert preset_table.header(preset).fields == {"For": "somebody and others", "Needs": "nothing", "Costs": "$1"}


@pytest.mark.parametrize("stem", presets.STEMS)
def test_price_in_a_preset_header_is_that_of_the_catalog(stem: str) -> None:
    costs = preset_table.header(presets.path_of(stem)).fields["Costs"]
    match = re.match(
        r"\$([\d.]+) per (replica-)?hour"
        r"(?: \((\S+) on demand, us-east-1(?:, one of (\d) slices)?(?:, (\d) of them)?\))?",
        costs,
    )
    assert match, costs
    if match[2]:
        price = catalog.catalog().instances[match[3]].usd_per_hour
        assert price is not None
        assert float(match[1]) == round(price * int(match[5] or 1) / int(match[4] or 1), 3)
    else:
        assert float(match[1]) == 0


def test_every_rule_has_a_page_and_a_line_in_the_index() -> None:
    directory = presets.ROOT / "docs" / "rules"
    index = (directory / "README.md").read_text()
    for rule in documented_rules():
        assert (directory / f"{rule.id}-{rule.name}.md").is_file()
        assert f"[{rule.id}]({rule.id}-{rule.name}.md)" in index
