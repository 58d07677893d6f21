"""What a model costs, as its release records it, against Prometheus' own rule engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chartproof import toolchain
from chartproof.release import Release
from tests import presets
from tests.chart.conftest import merged

pytestmark = pytest.mark.slow

ON_DEMAND, SPOT_FACTOR = 1.006, 0.4
"""Dollars an hour of a g5.xlarge (catalog), and what the values below say of spot."""
PROMPTS, ANSWERS = 900.0, 150.0
"""Tokens a second of each replica."""
WEIGHT = 0.2
MINUTES = 180
END = f"{MINUTES}m"

COST: dict[str, Any] = {
    "observability": {
        "cost": {
            "capacityPriceFactors": {"spot": SPOT_FACTOR},
            "promptTokenWeight": WEIGHT,
            "monthlyBudgetDollars": 2000,
        }
    }
}
HOUR_OF_BOTH = ON_DEMAND * (1 + SPOT_FACTOR)


def _render(stem: str, *values: Mapping[str, Any]) -> Release:
    return presets.render(stem, yaml.safe_dump(merged(*values)))


def _groups(release: Release) -> list[dict[str, Any]]:
    (document,) = [each for each in release.of_kind("PrometheusRule") if each.name.endswith("-cost")]
    return [dict(each) for each in document.get("spec", "groups")]


def _always(value: float) -> str:
    return f"{value}x{MINUTES}"


def _growing(per_second: float) -> str:
    return f"0+{per_second * 60}x{MINUTES}"


def _pod(release: Release, suffix: str, deployment: str = "") -> str:
    for group in release.of_kind("LeaderWorkerSet"):
        return f"{group.name}-{suffix}"
    names = [each.name for each in release.of_kind("Deployment") if each.name.endswith(deployment)]
    return f"{names[0]}-7c9d8f6b5d-{suffix}"


def _replica(
    release: Release,
    suffix: str,
    *,
    gpus: float = 1,
    of: int = 1,
    resource: str = "nvidia_com_gpu",
    running: float | None = 4,
    model: str = "qwen2.5-7b",
    deployment: str = "",
) -> dict[str, str]:
    """A replica on a node of its own, as kube-state-metrics and its engine tell of it."""
    pod, node = _pod(release, suffix, deployment), f"node-{suffix}"
    here = f'namespace="llm",pod="{pod}"'
    engine = f'{here},model_name="{model}",engine="0"'
    series = {
        f'kube_pod_info{{{here},node="{node}"}}': _always(1),
        f'kube_pod_container_resource_requests{{{here},node="{node}",container="engine",resource="{resource}"}}': (
            _always(gpus)
        ),
        f'kube_pod_status_phase{{{here},phase="Failed"}}': _always(0),
        f'kube_node_status_allocatable{{node="{node}",resource="{resource}"}}': _always(of),
    }
    if running is not None:
        series[f"vllm:num_requests_running{{{engine}}}"] = _always(running)
        series[f"vllm:prompt_tokens_total{{{engine}}}"] = _growing(PROMPTS)
        series[f"vllm:generation_tokens_total{{{engine}}}"] = _growing(ANSWERS)
    return series


def _karpenter(suffix: str, capacity_type: str, instance_type: str = "g5.xlarge") -> dict[str, str]:
    labels = f'node_name="node-{suffix}",instance_type="{instance_type}",capacity_type="{capacity_type}"'
    return {f'karpenter_nodes_allocatable{{{labels},resource_type="nvidia.com/gpu"}}': _always(1)}


def _holds(tmp_path: Path, release: Release, series: Mapping[str, str], expected: Mapping[str, float | None]) -> None:
    """Each expression has this value at the end, or none."""
    tests = []
    for expression, value in expected.items():
        within = f"abs(sum({expression}) - {value}) < bool {max(abs(value or 0) * 0.01, 1e-9)}"
        counted = f"count({expression}) or vector(0)"
        tests.append(
            {
                "expr": counted if value is None else within,
                "eval_time": END,
                "exp_samples": [{"labels": "{}", "value": 0 if value is None else 1}],
            }
        )
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": _groups(release)}))
    test = {
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "promql_expr_test": tests,
    }
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "test.yaml").write_text(json.dumps(document))
    command = [str(toolchain.resolve("promtool")), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _two_replicas(release: Release, **second: Any) -> dict[str, str]:
    """One on demand, one on spot."""
    return {
        **_replica(release, "aaaaa"),
        **_replica(release, "bbbbb", **second),
        **_karpenter("aaaaa", "on-demand"),
        **_karpenter("bbbbb", "spot"),
    }


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    for stem, values in (
        ("qwen2.5-7b-g5", COST),
        ("llama-3.1-8b-g6e-gateway", {}),
        ("llama-3.1-8b-awq-h100-mig", {}),
        ("llama-3.3-70b-fp8-g7e-disaggregated", {}),
        ("qwen3-embedding-8b-g5", {}),
        ("qwen3-8b-g6e-sglang", {}),
        ("qwen2.5-7b-auto-mode", COST),
    ):
        (tmp_path / "rules.yaml").write_text(json.dumps({"groups": _groups(_render(stem, values))}))
        command = [str(toolchain.resolve("promtool")), "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, stem + done.stdout + done.stderr


def test_replicas_cost_what_their_nodes_do_by_type_and_capacity(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    weighted = 2 * (WEIGHT * PROMPTS + ANSWERS)
    _holds(
        tmp_path,
        release,
        _two_replicas(release),
        {
            "llm_model_usd_per_hour": HOUR_OF_BOTH,
            "llm_model_idle_usd_per_hour": 0,
            "llm_model_spot_share": SPOT_FACTOR / (1 + SPOT_FACTOR),
            'llm_model_tokens_per_second{kind="prompt"}': 2 * PROMPTS,
            'llm_model_tokens_per_second{kind="generation"}': 2 * ANSWERS,
            'llm_model_usd_per_million_tokens{kind="all"}': 1e6 * HOUR_OF_BOTH / 3600 / (2 * (PROMPTS + ANSWERS)),
            'llm_model_usd_per_million_tokens{kind="generation"}': 1e6 * HOUR_OF_BOTH / 3600 / weighted,
            'llm_model_usd_per_million_tokens{kind="prompt"}': WEIGHT * 1e6 * HOUR_OF_BOTH / 3600 / weighted,
            "llm_model_usd_per_month": 730 * HOUR_OF_BOTH,
        },
    )


@pytest.mark.parametrize("running", [0, None], ids=["no request", "still loading"])
def test_a_replica_without_requests_is_idle(tmp_path: Path, running: float | None) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    expected = {"llm_model_usd_per_hour": HOUR_OF_BOTH, "llm_model_idle_usd_per_hour": ON_DEMAND * SPOT_FACTOR}
    _holds(tmp_path, release, _two_replicas(release, running=running), expected)


@pytest.mark.parametrize("running", [4, 0], ids=["busy", "no request"])
def test_a_group_costs_all_of_its_nodes_and_works_when_its_leader_does(tmp_path: Path, running: float) -> None:
    release = presets.render("deepseek-v3.2-p5-groups")
    series: dict[str, str] = {}
    # A group's number, and the pod's within it; workers export nothing.
    for part, busy in (("0", 4), ("0-1", None), ("10", running), ("10-1", None)):
        series |= _replica(release, part, gpus=8, of=8, model="deepseek-v3.2", running=busy)
        series |= _karpenter(part, "reserved", "p5.48xlarge")
    both = 4 * 55.04
    expected = {"llm_model_usd_per_hour": both, "llm_model_idle_usd_per_hour": 0 if running else both / 2}
    _holds(tmp_path, release, series, expected)


def test_prices_of_the_values_win(tmp_path: Path) -> None:
    prices = {"observability": {"cost": {"instanceDollarsPerHour": {"g5.xlarge": 3.0}}}}
    release = _render("qwen2.5-7b-g5", COST, prices)
    _holds(tmp_path, release, _two_replicas(release), {"llm_model_usd_per_hour": 3.0 * (1 + SPOT_FACTOR)})


def test_replicas_that_share_a_gpu_in_turns_share_its_price(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    series = {**_replica(release, "aaaaa", of=4), **_karpenter("aaaaa", "on-demand")}
    _holds(tmp_path, release, series, {"llm_model_usd_per_hour": ON_DEMAND / 4})


def test_a_slice_costs_its_share_of_the_instance_whatever_else_is_cut_from_it(tmp_path: Path) -> None:
    release = presets.render("llama-3.1-8b-awq-h100-mig")
    series = _replica(release, "aaaaa", of=2, resource="nvidia_com_mig_1g_20gb", model="llama-3.1-8b")
    _holds(tmp_path, release, series, {"llm_model_usd_per_hour": 6.88 / 4})


def test_one_price_needs_nobody_who_tells_of_nodes(tmp_path: Path) -> None:
    release = presets.render("mistral-7b-generic")
    _holds(tmp_path, release, _replica(release, "aaaaa", model="mistral-7b"), {"llm_model_usd_per_hour": 1.861})


@pytest.mark.parametrize(
    ("labels", "factor"),
    [
        ('label_eks_amazonaws_com_capacity_type="SPOT"', SPOT_FACTOR),
        ('label_eks_amazonaws_com_capacity_type="ON_DEMAND"', 1),
        ('label_other="x"', 1),
    ],
)
def test_nodes_of_managed_groups_are_told_apart_by_their_labels(tmp_path: Path, labels: str, factor: float) -> None:
    release = _render("llama-3.1-8b-awq-g6-managed", COST)
    instance = "g6.2xlarge"
    node = f'node="node-aaaaa",label_node_kubernetes_io_instance_type="{instance}",{labels}'
    series = {
        **_replica(release, "aaaaa", model="llama-3.1-8b"),
        f"kube_node_labels{{{node}}}": _always(1),
    }
    _holds(tmp_path, release, series, {"llm_model_usd_per_hour": 0.9776 * factor})


def test_no_replica_costs_nothing(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    elsewhere = {'kube_pod_info{namespace="other",pod="x",node="node-x"}': _always(1)}
    _holds(tmp_path, release, elsewhere, {"llm_model_usd_per_hour": 0, "llm_model_idle_usd_per_hour": 0})


def test_what_cannot_be_known_is_a_gap_and_no_saving(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    # Nobody tells what node the second one is on; and, in the other case, of pods at all.
    unknown = {**_replica(release, "aaaaa"), **_replica(release, "bbbbb"), **_karpenter("aaaaa", "on-demand")}
    _holds(tmp_path, release, unknown, {"llm_model_usd_per_hour": None})
    _holds(tmp_path, release, _karpenter("aaaaa", "on-demand"), {"llm_model_usd_per_hour": None})


def test_a_replica_that_failed_costs_nothing_although_its_object_stays(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    series = _two_replicas(release)
    series[f'kube_pod_status_phase{{namespace="llm",pod="{_pod(release, "bbbbb")}",phase="Failed"}}'] = _always(1)
    _holds(tmp_path, release, series, {"llm_model_usd_per_hour": ON_DEMAND})


def test_tokens_of_another_release_of_the_same_model_are_not_counted(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST)
    other = 'namespace="llm",pod="green-llm-inference-7c9d8f6b5d-aaaaa",model_name="qwen2.5-7b",engine="0"'
    series = {**_two_replicas(release), f"vllm:prompt_tokens_total{{{other}}}": _growing(5000)}
    _holds(tmp_path, release, series, {'llm_model_tokens_per_second{kind="prompt"}': 2 * PROMPTS})


def test_prompts_and_answers_of_separate_replicas_are_counted_once(tmp_path: Path) -> None:
    release = presets.render("llama-3.3-70b-fp8-g7e-disaggregated")
    size: dict[str, Any] = {"gpus": 2, "of": 2, "model": "llama-3.3-70b"}
    series = {
        **_replica(release, "aaaaa", deployment="-prefill", **size),
        **_replica(release, "bbbbb", deployment="-decode", **size),
        **_karpenter("aaaaa", "on-demand", "g7e.12xlarge"),
        **_karpenter("bbbbb", "on-demand", "g7e.12xlarge"),
    }
    expected = {
        "llm_model_usd_per_hour": 2 * 8.28608,
        'llm_model_tokens_per_second{kind="prompt"}': PROMPTS,
        'llm_model_usd_per_million_tokens{kind="all"}': 1e6 * 2 * 8.28608 / 3600 / (PROMPTS + ANSWERS),
    }
    _holds(tmp_path, release, series, expected)


def test_a_model_that_writes_nothing_costs_by_its_prompts(tmp_path: Path) -> None:
    release = presets.render("qwen3-embedding-8b-g5")
    series = {**_replica(release, "aaaaa", model="qwen3-embedding-8b"), **_karpenter("aaaaa", "on-demand")}
    expected = {"llm_model_usd_per_million_tokens": 1e6 * ON_DEMAND / 3600 / PROMPTS}
    _holds(tmp_path, release, series, expected)


def test_teams_pay_for_their_tokens_and_together_for_the_model(tmp_path: Path) -> None:
    release = presets.render("llama-3.1-8b-g6e-gateway")
    price, thousand = 1.861, 1000.0

    def litellm(metric: str, team: str, target: str) -> str:
        return f'litellm_{metric}_metric_total{{namespace="llm",team="{team}",model_id="llama-3.1-8b.{target}"}}'

    series = {
        **_replica(release, "aaaaa", model="llama-3.1-8b"),
        **_karpenter("aaaaa", "on-demand", "g6e.xlarge"),
        # One asks for a third of what the model does, the other for the rest; that one also gets answers from Bedrock.
        litellm("input_tokens", "chat", "own"): _growing(PROMPTS / 3),
        litellm("output_tokens", "chat", "own"): _growing(ANSWERS / 3),
        litellm("input_tokens", "search", "own"): _growing(PROMPTS * 2 / 3),
        litellm("output_tokens", "search", "own"): _growing(ANSWERS * 2 / 3),
        litellm("input_tokens", "search", "bedrock"): _growing(thousand),
        litellm("output_tokens", "search", "bedrock"): _growing(thousand),
        litellm("spend", "search", "bedrock"): _growing(2 * thousand * 0.22 / 1e6),
        litellm("spend", "search", "own"): _growing(0),
        litellm("total_tokens", "search", "own"): _growing((PROMPTS + ANSWERS) * 2 / 3),
        litellm("total_tokens", "search", "bedrock"): _growing(2 * thousand),
    }
    bedrock = 2 * thousand * 0.22 / 1e6 * 3600
    search = price * 2 / 3 + bedrock
    tokens = (PROMPTS + ANSWERS) * 2 / 3 + 2 * thousand
    expected = {
        'llm_team_usd_per_hour{team="chat"}': price / 3,
        'llm_team_usd_per_hour{team="search"}': search,
        "llm_team_usd_per_hour": price + bedrock,
        'llm_team_usd_per_million_tokens{team="search"}': search * 1e6 / 3600 / tokens,
    }
    _holds(tmp_path, release, series, expected)


@pytest.mark.parametrize(
    ("budget", "firing"),
    [(2000, []), (700, ["LlmBudgetExceeded"]), (400, ["LlmBudgetExceeded", "LlmBudgetExceededFast"])],
)
def test_alerts_of_the_budget_fire_above_it_and_twice_it(tmp_path: Path, budget: int, firing: list[str]) -> None:
    """Two replicas are 1,028 dollars a month."""
    release = _render("qwen2.5-7b-g5", COST, {"observability": {"cost": {"monthlyBudgetDollars": budget}}})
    alerts = 'ALERTS{alertstate="firing"'
    expected: dict[str, float | None] = {f'count({alerts},alertname="{each}"}})': 1 for each in firing}
    expected[f"count({alerts}}})"] = len(firing) or None
    _holds(tmp_path, release, _two_replicas(release), expected)


def test_alerts_of_the_budget_clear_when_the_spending_ends(tmp_path: Path) -> None:
    release = _render("qwen2.5-7b-g5", COST, {"observability": {"cost": {"monthlyBudgetDollars": 900}}})
    series = _two_replicas(release)
    for each in series:
        if "-bbbbb" in each and each.startswith("kube_pod"):
            # Stops after an hour; the mean of three is then below the budget.
            series[each] = f"{series[each].split('x')[0]}x60 _x{MINUTES - 60}"
    before = _groups(release)
    assert any(rule.get("alert") == "LlmBudgetExceeded" for group in before for rule in group["rules"])
    _holds(tmp_path, release, series, {'ALERTS{alertstate="firing"}': None})


def test_every_alert_of_the_budget_has_a_runbook() -> None:
    alerts = [rule for group in _groups(_render("qwen2.5-7b-g5", COST)) for rule in group["rules"] if "alert" in rule]
    assert {each["alert"] for each in alerts} == {"LlmBudgetExceeded", "LlmBudgetExceededFast"}
    for each in alerts:
        page = each["annotations"]["runbook_url"].rpartition("/")[2]
        assert (presets.ROOT / "docs" / "runbooks" / page).is_file(), page


def test_without_a_budget_there_is_no_alert_and_without_a_price_no_record() -> None:
    groups = _groups(presets.render("qwen2.5-7b-g5"))
    assert not any("alert" in rule for group in groups for rule in group["rules"])
    unpriced = {"nodes": {"instanceTypes": []}, "autoscaling": {"targetPerReplica": 20}}
    release = _render("mistral-7b-generic", unpriced)
    assert not [each for each in release.of_kind("PrometheusRule") if each.name.endswith("-cost")]
