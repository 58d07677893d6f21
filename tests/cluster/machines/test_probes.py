"""Probes: what they ask, when, and what the answers come to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import yarl
from aiohttp import web

from chartproof.cluster.machines import probes
from chartproof.cluster.machines.probes import Answer, Kind, Probe, ProbeError
from chartproof.cluster.machines.server import ERROR_HEADER, Cut
from chartproof.cluster.speed import Speed
from tests.cluster.machines import virtual
from tests.cluster.machines.doubles import container

REAL = Speed(1)


def probe(kind: Kind = Kind.READINESS, **body: Any) -> Probe:
    return Probe(kind, container(), body)


class Answers:
    """Gives these answers one after the other, then the last one for ever."""

    def __init__(self, answers: Sequence[bool], seconds: float = 0) -> None:
        self.answers = list(answers)
        self.seconds = seconds
        self.asked: list[float] = []
        self.verdicts: list[tuple[float, bool]] = []
        self.failures: list[str] = []

    async def ask(self) -> Answer:
        self.asked.append(virtual.now())
        await asyncio.sleep(self.seconds)
        passed = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Answer(passed, "" if passed else "no")

    def watch(self, subject: Probe, seconds: float, speed: Speed = REAL) -> Answers:
        async def story() -> None:
            watching = asyncio.create_task(
                probes.watch(
                    subject,
                    self.ask,
                    speed,
                    verdict=lambda passed: self.verdicts.append((virtual.now(), passed)),
                    failed=self.failures.append,
                )
            )
            await asyncio.sleep(seconds)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

        virtual.run(story())
        return self


def test_readiness_is_asked_at_once_and_then_at_its_period() -> None:
    found = Answers([True]).watch(probe(periodSeconds=5), 12)
    assert found.asked == [0, 5, 10]
    assert found.verdicts[0] == (0, True)


@pytest.mark.parametrize("kind", [Kind.STARTUP, Kind.LIVENESS])
def test_startup_and_liveness_wait_a_period_and_the_initial_delay(kind: Kind) -> None:
    assert Answers([True]).watch(probe(kind, periodSeconds=10), 11).asked == [10]
    assert Answers([True]).watch(probe(kind, periodSeconds=10, initialDelaySeconds=25), 31).asked == [30]


def test_a_startup_probe_fails_for_good_after_delay_and_period_times_threshold() -> None:
    subject = probe(Kind.STARTUP, periodSeconds=10, failureThreshold=6)
    found = Answers([False]).watch(subject, 1000)
    assert found.verdicts == [(60, False)]
    assert len(found.failures) == 6
    assert found.failures[0] == "Startup probe failed: no"


def test_a_startup_probe_is_asked_no_more_once_it_has_passed() -> None:
    found = Answers([False, True]).watch(probe(Kind.STARTUP, periodSeconds=10), 100)
    assert found.verdicts == [(20, True)]
    assert found.asked == [10, 20]


def test_only_answers_in_a_row_count() -> None:
    subject = probe(Kind.LIVENESS, periodSeconds=10, failureThreshold=3)
    found = Answers([False, False, True, False, False, False]).watch(subject, 100)
    assert found.verdicts == [(30, True), (60, False)]


def test_readiness_needs_its_success_threshold() -> None:
    subject = probe(periodSeconds=10, successThreshold=3)
    assert Answers([True]).watch(subject, 25).verdicts == [(20, True)]


def test_defaults_are_those_of_kubernetes() -> None:
    found = probe(httpGet={"port": 8000})
    assert (found.period, found.timeout, found.failures, found.successes, found.initial_delay) == (10, 1, 3, 1, 0)


def test_periods_are_divided_by_the_speed_and_timeouts_never_below_a_second() -> None:
    subject = probe(periodSeconds=15, timeoutSeconds=5)
    found = Answers([True], seconds=0.9).watch(subject, 10, Speed(15))
    assert found.verdicts[0] == (0.9, True)
    slow = Answers([True], seconds=1.1).watch(subject, 10, Speed(15))
    assert slow.verdicts
    assert not any(passed for _, passed in slow.verdicts)


def test_questions_that_fell_due_while_an_answer_was_awaited_are_not_made_up_for() -> None:
    found = Answers([True], seconds=25).watch(probe(periodSeconds=10, timeoutSeconds=60), 61)
    assert found.asked == [0, 30, 60]


def run_ask(subject: Probe, network: Any, *, listening: bool = True) -> Answer:
    return virtual.run(probes.ask(subject, "10.64.0.7", network, lambda _port: listening))


class Echo:
    """Answers with a given response, and keeps what it was asked."""

    def __init__(self, response: web.StreamResponse | Exception) -> None:
        self.response = response

    async def dispatch(self, request: web.BaseRequest, url: yarl.URL) -> web.StreamResponse:
        self.request, self.url = request, url
        if isinstance(self.response, Exception):
            raise self.response
        return self.response


def test_an_http_probe_is_a_get_with_host_port_by_name_path_and_headers() -> None:
    echo = Echo(web.Response(status=204))
    subject = probe(
        httpGet={
            "path": "/health?deep=1",
            "port": "http",
            "httpHeaders": [{"name": "Authorization", "value": "Bearer x"}, {"name": "Accept", "value": ""}],
        }
    )
    assert run_ask(subject, echo).passed
    assert str(echo.url) == "http://10.64.0.7:8000/health?deep=1"
    assert echo.request.method == "GET"
    assert echo.request.path == "/health"
    assert echo.request.query == {"deep": "1"}
    assert echo.request.headers["Authorization"] == "Bearer x"
    assert echo.request.headers["User-Agent"] == "kube-probe/1.36"
    assert "Accept" not in echo.request.headers


def test_an_http_probe_may_name_another_host_and_port() -> None:
    echo = Echo(web.Response())
    run_ask(probe(httpGet={"host": "vllm.llm.svc", "port": 80}), echo)
    assert str(echo.url) == "http://vllm.llm.svc/"


@pytest.mark.parametrize(
    ("response", "output"),
    [
        (web.Response(status=503), "HTTP probe failed with statuscode: 503"),
        (web.Response(status=404), "HTTP probe failed with statuscode: 404"),
        (web.HTTPUnauthorized(), "HTTP probe failed with statuscode: 401"),
        (Cut(), 'Get "http://10.64.0.7:8000/health": EOF'),
        (ConnectionResetError(), 'Get "http://10.64.0.7:8000/health": EOF'),
        (
            web.Response(status=502, headers={ERROR_HEADER: "refused"}),
            'Get "http://10.64.0.7:8000/health": dial tcp 10.64.0.7:8000: connect: connection refused',
        ),
        (
            web.Response(status=502, headers={ERROR_HEADER: "no such host"}),
            'Get "http://10.64.0.7:8000/health": dial tcp: lookup 10.64.0.7: no such host',
        ),
    ],
)
def test_failures_are_told_in_the_kubelets_words(response: Any, output: str) -> None:
    answer = run_ask(probe(httpGet={"path": "/health", "port": 8000}), Echo(response))
    assert answer == Answer(passed=False, output=output)


def test_a_program_that_writes_its_answer_itself_is_heard_too() -> None:
    class Streaming:
        async def dispatch(self, request: web.BaseRequest, _url: yarl.URL) -> web.StreamResponse:
            response = web.StreamResponse(status=200)
            await response.prepare(request)
            await response.write(b"data")
            await response.write_eof()
            return response

    assert run_ask(probe(httpGet={"port": 8000}), Streaming()).passed


def test_a_tcp_probe_passes_where_something_listens_and_a_command_always() -> None:
    nobody = Echo(AssertionError())
    assert run_ask(probe(tcpSocket={"port": "http"}), nobody).passed
    refused = run_ask(probe(tcpSocket={"port": "http"}), nobody, listening=False)
    assert refused == Answer(passed=False, output="dial tcp 10.64.0.7:8000: connect: connection refused")
    assert run_ask(probe(exec={"command": ["true"]}), nobody, listening=False).passed


def test_a_port_without_such_a_name_is_an_error_and_no_answer() -> None:
    subject = probe(httpGet={"port": "metrics"})
    with pytest.raises(ProbeError, match="couldn't find port: 'metrics' in container 'vllm'"):
        run_ask(subject, Echo(web.Response()))

    class Broken(Answers):
        async def ask(self) -> Answer:
            raise ProbeError("couldn't find port")

    found = Broken([False]).watch(subject, 100)
    assert found.verdicts == []
    assert found.failures[0] == "Readiness probe errored and resulted in Unknown state: couldn't find port"
