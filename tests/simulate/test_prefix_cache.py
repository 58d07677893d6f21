"""What is in the prefix cache is not computed again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from chartproof import cli
from chartproof.errors import InputError
from chartproof.simulate.baselines import Case, run_release
from chartproof.simulate.demand import replica_rate
from chartproof.simulate.engine import BLOCK_TOKENS, Engine, Job
from chartproof.simulate.run import Options, Subject, demand, subject_of
from chartproof.simulate.traffic import Request, Trace
from tests import presets
from tests.simulate.conftest import SERVERLESS
from tests.simulate.test_engine import MODEL

COMPUTES = MODEL.per_prompt_token


def first_token(engine: Engine, prompt: int, blocks: tuple[int, ...] = ()) -> float:
    """Seconds until the first token of a request that comes when nothing else is there."""
    begun = engine.time + 100
    engine.advance(begun)
    job = Job(begun, prompt, 2, blocks)
    assert engine.submit(job)
    engine.advance(begun + 50)
    return job.first_token - begun


def test_blocks_that_were_computed_before_are_not_computed_again() -> None:
    engine = Engine(MODEL, 0.0)
    prompt = 4 * BLOCK_TOKENS
    cold = first_token(engine, prompt, (1, 2, 3, 4))
    again = first_token(engine, prompt, (1, 2, 3, 9))
    assert cold - again == pytest.approx(3 * BLOCK_TOKENS * COMPUTES, rel=0.01)
    assert engine.cached_tokens_total == 3 * BLOCK_TOKENS
    assert engine.prompt_tokens_total == 2 * prompt, "as engines count them"
    assert engine.kv_tokens == 0


def test_a_block_counts_only_behind_those_before_it() -> None:
    engine = Engine(MODEL, 0.0)
    first_token(engine, 3 * BLOCK_TOKENS, (1, 2, 3))
    first_token(engine, 3 * BLOCK_TOKENS, (8, 2, 3))
    assert engine.cached_tokens_total == 0


def test_the_last_token_of_a_prompt_is_computed_always() -> None:
    engine = Engine(MODEL, 0.0)
    first_token(engine, BLOCK_TOKENS, (1,))
    seconds = first_token(engine, BLOCK_TOKENS, (1,))
    assert engine.cached_tokens_total == BLOCK_TOKENS - 1
    assert seconds > 0


def test_what_was_used_last_stays() -> None:
    room = MODEL.kv_tokens // BLOCK_TOKENS
    engine = Engine(MODEL, 0.0)
    first_token(engine, BLOCK_TOKENS, (0,))
    for each in range(1, room):
        first_token(engine, BLOCK_TOKENS, (each,))
    first_token(engine, BLOCK_TOKENS, (0,))
    first_token(engine, BLOCK_TOKENS, (room,))
    known = engine.cached_tokens_total
    first_token(engine, BLOCK_TOKENS, (1,))
    assert engine.cached_tokens_total == known, "it made room"
    first_token(engine, BLOCK_TOKENS, (0,))
    assert engine.cached_tokens_total > known, "it was used since"


def test_nothing_is_found_where_the_cache_is_off() -> None:
    engine = Engine(dataclasses.replace(MODEL, prefix_cache=False, cached_share=0.5), 0.0)
    first_token(engine, BLOCK_TOKENS, (1,))
    first_token(engine, BLOCK_TOKENS, (1,))
    assert engine.cached_tokens_total == 0


def test_a_share_of_every_prompt_makes_room_for_more_requests() -> None:
    cached = dataclasses.replace(MODEL, cached_share=0.75)
    engine = Engine(cached, 0.0)
    first_token(engine, 1000)
    assert engine.cached_tokens_total == 750
    assert replica_rate(cached, 2000, 20) > 2 * replica_rate(MODEL, 2000, 20)


def conversations(turns: int) -> Trace:
    """Twenty users, each of whose prompts begins with the one before."""
    requests = [
        Request(30.0 * turn + user, BLOCK_TOKENS * (turn + 4), 50, tuple(100 * user + i for i in range(turn + 4)))
        for turn in range(turns)
        for user in range(20)
    ]
    return Trace("conversations", open_requests=lambda: iter(requests))


def run(subject: Subject, trace: Trace) -> tuple[float, float]:
    """Percent of prompts that was cached, and the median first token."""
    result = run_release(Case(subject, trace, Options(initial_replicas=1), demand(subject, trace)))
    return result.cached_percent, result.ttft[0]


def test_conversations_are_answered_sooner_with_the_blocks_of_the_turn_before(serverless: Subject) -> None:
    trace = conversations(20)
    without = dataclasses.replace(
        trace, open_requests=lambda: (each._replace(blocks=()) for each in conversations(20).requests())
    )
    percent, first = run(serverless, trace)
    nothing, later = run(serverless, without)
    assert percent > 40
    assert nothing == 0
    assert first < 0.5 * later


def test_copies_of_a_request_are_somebody_elses() -> None:
    trace = dataclasses.replace(conversations(2), scale=2)
    blocks = [set(each.blocks) for each in trace.requests() if each.prompt_tokens == 4 * BLOCK_TOKENS]
    assert len(blocks) == 40
    assert sum(len(each) for each in blocks) == len(set().union(*blocks))


def test_a_share_is_refused_where_the_engine_has_no_prefix_cache() -> None:
    release = presets.render(SERVERLESS, "engine: {enablePrefixCaching: false}")
    assert not subject_of(release).model.prefix_cache
    with pytest.raises(InputError, match="prefix cache is switched off"):
        subject_of(release, cached_share=0.5)


def test_the_command_says_what_was_cached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "mooncake.jsonl"
    lines = [
        {"timestamp": 1000 * each.time, "input_length": each.prompt_tokens, "output_length": 5, "hash_ids": each.blocks}
        for each in conversations(5).requests()
    ]
    trace.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    words = ["simulate", str(presets.path_of(SERVERLESS))]
    assert cli.main([*words, "--trace", str(trace)]) == 0
    assert "% of the prompts' tokens" in capsys.readouterr().out
    made = ["--trace", "synthetic:constant,hours=0.1", "--cached-prompt-share", "0.4", "--format", "json"]
    assert cli.main([*words, *made]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["engine"]["cachedPromptShare"] == 0.4
    assert found["runs"][0]["cachedPromptPercent"] == pytest.approx(40, abs=1)
