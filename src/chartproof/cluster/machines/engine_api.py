"""What clients of an engine send and get: vLLM's and SGLang's HTTP bodies, as pure functions of the request.

Read in vLLM 0.11.1 to 0.33.0 (`entrypoints/openai/{completion,chat_completion}/{protocol,serving}.py`, formerly
`serving_*.py`; errors: `entrypoints/serve/exception_handling`, `renderers/params.py`) and SGLang 0.5.23
(`srt/entrypoints/openai`, `http_server.py`, `managers/tokenizer_manager.py`).

There is no tokenizer and no model. A prompt given as token ids has that many tokens; of text,
CHARACTERS_PER_TOKEN make one, and each message of a chat costs MESSAGE_TOKENS more. An answer is as long as the
client allows (as with `ignore_eos`); where it leaves that open, it stops by itself after OPEN_ANSWER_TOKENS. Each token
of an answer is the text WORD.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from http import HTTPStatus
from typing import Any, Protocol

from chartproof.versions import Version

#: English text, as a rule of thumb.
CHARACTERS_PER_TOKEN = 4
#: What a chat template puts around a message.
MESSAGE_TOKENS = 4
#: Length of an answer that nobody bounds.
OPEN_ANSWER_TOKENS = 256
WORD = " word"

#: Answer length of `/v1/completions` and of SGLang's `/generate` where none is asked for.
COMPLETION_TOKENS = 16
GENERATE_TOKENS = 128


class Kind(Enum):
    """Which question, by its path."""

    COMPLETION = "/v1/completions"
    CHAT = "/v1/chat/completions"
    GENERATE = "/generate"


#: Addresses at which no replica has the KV cache of another one.
_NOT_ANOTHER_POD = (None, "localhost", "127.0.0.1")


class RefusedError(Exception):
    """The engine answers with an error: status and JSON body."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Question:
    """A request for an answer. `reason` is why the answer ends; `tokenized`: its prompt came as token ids.

    `hands_over`: another replica goes on with the prompt's KV cache; `handed_over`: another one has computed it.
    """

    kind: Kind
    identifier: str
    created: int
    model: str
    prompt_tokens: int
    answer_tokens: int
    max_tokens: int | None
    reason: str
    tokenized: bool
    stream: bool
    usage: bool
    usage_always: bool
    hands_over: bool = False
    handed_over: bool = False


@dataclass(frozen=True, slots=True)
class RawBody:
    """A request's body as it came."""

    content_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class KvAddress:
    """Where other replicas are told to ask for an engine's KV cache, and over how many GPUs it is spread."""

    host: str
    port: int
    tensor_parallel_size: int = 1


@dataclass(frozen=True, slots=True)
class Terms:
    """What an engine serves: `context_tokens` bound prompt and answer together.

    Without a `kv_address` it hands no KV cache over.
    """

    names: tuple[str, ...]
    root: str
    version: Version
    context_tokens: int
    kv_address: KvAddress | None = None


class Api(Protocol):
    """The words of one engine."""

    def question(self, kind: Kind, raw: RawBody, identifier: str, created: int) -> Question:
        """What is asked. Raises RefusedError where the engine answers with an error."""

    def error(self, status: int, message: str) -> RefusedError:
        """An error of the server, in the engine's form."""

    def busy(self) -> RefusedError:
        """The queue is as long as it may be."""

    def whole(self, question: Question, reason: str) -> Mapping[str, Any]:
        """The answer at once."""

    def piece(self, question: Question, sent: int, made: int, reason: str | None) -> str:
        """A part of a streamed answer: the tokens between `sent` and `made`; `reason` with the last one."""

    def last(self, question: Question, made: int) -> str:
        """What comes after the last part."""

    def models(self, created: int) -> Mapping[str, Any]:
        """`/v1/models`."""


class _Unreadable(ValueError):  # noqa: N818  (a signal of this module)
    """A body that fails the engine's validation."""


def _json(raw: RawBody) -> Mapping[str, Any]:
    """The body as JSON; complaints are in FastAPI's words, as both engines repeat them."""
    if raw.content_type.partition(";")[0].strip().lower() != "application/json":
        raise _Unreadable("Unsupported Media Type: Only 'application/json' is allowed")
    try:
        found = json.loads(raw.content)
    except ValueError as error:
        position = getattr(error, "pos", 0)
        reason = getattr(error, "msg", error)
        raise _Unreadable(
            f"{{'type': 'json_invalid', 'loc': ('body', {position}), 'msg': 'JSON decode error', 'input': {{}}, "
            f"'ctx': {{'error': '{reason}'}}}}"
        ) from error
    if not isinstance(found, Mapping):
        raise _Unreadable("{'type': 'dict_type', 'loc': ('body',), 'msg': 'Input should be a valid dictionary'}")
    return found


def text_tokens(text: str) -> int:
    """Tokens of a text, at least one."""
    return max(1, math.ceil(len(text) / CHARACTERS_PER_TOKEN))


def _prompt_of(body: Mapping[str, Any], key: str) -> tuple[int, bool]:
    """Tokens of a completion's prompt, and whether it came as token ids."""
    prompt = body.get(key)
    if isinstance(prompt, str):
        return text_tokens(prompt), False
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        return _prompt_of({key: prompt[0]}, key)
    if isinstance(prompt, list) and prompt and all(isinstance(each, int) for each in prompt):
        return len(prompt), True
    if isinstance(prompt, list) and len(prompt) > 1:
        raise _Unreadable(f"{{'loc': ('body', '{key}'), 'msg': 'Several prompts in one request are not played'}}")
    raise _Unreadable(f"{{'type': 'missing', 'loc': ('body', '{key}'), 'msg': 'Field required'}}")


def _messages_of(body: Mapping[str, Any]) -> int:
    """Tokens of a chat's messages; of images and the like only the text around them counts."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(each, Mapping) for each in messages):
        raise _Unreadable("{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}")
    total = 0
    for message in messages:
        content = message.get("content") or ""
        parts = [content] if isinstance(content, str) else [str(each.get("text", "")) for each in content]
        total += MESSAGE_TOKENS + sum(text_tokens(part) for part in parts if part)
    return total


def _limit_of(body: Mapping[str, Any], *names: str) -> int | None:
    """The longest answer that the client allows, in tokens."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            raise _Unreadable(
                f"{{'type': 'int_parsing', 'loc': ('body', '{name}'), 'msg': 'Input should be a valid integer'}}"
            )
        return value
    return None


def _single(body: Mapping[str, Any]) -> None:
    if body.get("n") not in (None, 1) or body.get("best_of") not in (None, 1):
        raise _Unreadable("{'loc': ('body', 'n'), 'msg': 'More than one answer to a request is not played'}")


def _usage(question: Question, made: int) -> dict[str, Any]:
    prompt = question.prompt_tokens
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + made,
        "completion_tokens": made,
        "prompt_tokens_details": None,
    }


def _line(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


_DONE = "data: [DONE]\n\n"


class OpenAiApi:
    """What both engines share of OpenAI's API."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms

    def error(self, status: int, message: str) -> RefusedError:
        """An error without a type of its own."""
        raise NotImplementedError

    def whole(self, question: Question, reason: str) -> Mapping[str, Any]:
        """The answer at once."""
        # An answer that is given up before its first token has none.
        made = 0 if reason == "abort" else question.answer_tokens
        chat = question.kind is Kind.CHAT
        text = WORD * made
        choice: dict[str, Any] = {"index": 0}
        choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choice |= {"logprobs": None, "finish_reason": reason, "stop_reason": None}
        return {
            "id": question.identifier,
            "object": "chat.completion" if chat else "text_completion",
            "created": question.created,
            "model": question.model,
            "choices": [choice],
            "usage": _usage(question, made),
        }

    def piece(self, question: Question, sent: int, made: int, reason: str | None) -> str:
        """A part of a streamed answer; a chat begins with the role. Written by hand: hundreds stream at once."""
        chat = question.kind is Kind.CHAT
        start = (
            f'data: {{"id":"{question.identifier}","object":"{"chat.completion.chunk" if chat else "text_completion"}",'
            f'"created":{question.created},"model":{json.dumps(question.model)},"choices":[{{"index":0,'
        )
        usage = f',"usage":{json.dumps(_usage(question, made))}' if question.usage_always else ""
        ended = "null" if reason is None else f'"{reason}"'
        text = WORD * (made - sent)
        inner = f'"delta":{{"content":"{text}"}}' if chat else f'"text":"{text}"'
        found = f'{start}{inner},"logprobs":null,"finish_reason":{ended}}}]{usage}}}\n\n'
        if chat and not sent:
            role = '"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null'
            found = f"{start}{role}}}]{usage}}}\n\n{found}"
        return found

    def last(self, question: Question, made: int) -> str:
        """The usage where it is asked for, and the end."""
        if not question.usage:
            return _DONE
        chunk: dict[str, Any] = {
            "id": question.identifier,
            "object": "chat.completion.chunk" if question.kind is Kind.CHAT else "text_completion",
            "created": question.created,
            "model": question.model,
            "choices": [],
            "usage": {key: value for key, value in _usage(question, made).items() if value is not None},
        }
        return _line(chunk) + _DONE

    def _ask(self, kind: Kind, body: Mapping[str, Any], identifier: str, created: int, model: str) -> Question:
        _single(body)
        chat = kind is Kind.CHAT
        prompt, tokenized = (_messages_of(body), False) if chat else _prompt_of(body, "prompt")
        limit = _limit_of(body, *(("max_completion_tokens", "max_tokens") if chat else ("max_tokens",)))
        if limit is None and not chat:
            limit = COMPLETION_TOKENS
        self._check(
            prompt, limit, "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
        )
        room = self.terms.context_tokens - prompt
        options = body.get("stream_options") or {}
        stream = bool(body.get("stream"))
        usage = stream and bool(options.get("include_usage"))
        return Question(
            kind=kind,
            identifier=f"{'chatcmpl' if chat else 'cmpl'}-{identifier}",
            created=created,
            model=model,
            prompt_tokens=prompt,
            answer_tokens=max(1, min(OPEN_ANSWER_TOKENS if limit is None else limit, room)),
            max_tokens=limit,
            reason="stop" if limit is None and room > OPEN_ANSWER_TOKENS else "length",
            tokenized=tokenized,
            stream=stream,
            usage=usage,
            usage_always=usage and bool(options.get("continuous_usage_stats")),
        )

    def _check(self, prompt: int, limit: int | None, name: str) -> None:
        """Whether prompt and answer fit the context."""
        raise NotImplementedError


class VllmApi(OpenAiApi):
    """vLLM's words."""

    def question(self, kind: Kind, raw: RawBody, identifier: str, created: int) -> Question:
        """What is asked."""
        try:
            body = _json(raw)
            model = body.get("model")
            if model and model not in self.terms.names:
                raise self._unknown(str(model))
            return self._transferred(self._ask(kind, body, identifier, created, self.terms.names[0]), body)
        except _Unreadable as error:
            raise self.invalid(str(error)) from error

    def whole(self, question: Question, reason: str) -> Mapping[str, Any]:
        """The answer at once, with where the prompt's KV cache lies if another replica goes on with it."""
        found = super().whole(question, reason)
        address = self.terms.kv_address
        if not question.hands_over or address is None:
            return found
        return {
            **found,
            # NixlConnector (vLLM 0.33, `kv_connector/v1/nixl/pull_scheduler.py`, request_finished).
            "kv_transfer_params": {
                "do_remote_prefill": True,
                "do_remote_decode": False,
                "remote_block_ids": [[0]],
                "remote_engine_id": f"{address.host}:{address.port}",
                "remote_request_id": question.identifier,
                "remote_host": address.host,
                "remote_port": address.port,
                "tp_size": address.tensor_parallel_size,
            },
        }

    def _transferred(self, question: Question, body: Mapping[str, Any]) -> Question:
        """The question with what its client says of KV caches elsewhere; an engine without a connector ignores that."""
        told = body.get("kv_transfer_params")
        if self.terms.kv_address is None or not isinstance(told, Mapping):
            return question
        received = bool(told.get("do_remote_prefill"))
        if received and told.get("remote_host") in _NOT_ANOTHER_POD:
            # `kv_load_failure_policy: fail`, the default.
            raise self.error(HTTPStatus.INTERNAL_SERVER_ERROR, "KV cache could not be loaded from another replica")
        return replace(question, hands_over=bool(told.get("do_remote_decode")), handed_over=received)

    def error(self, status: int, message: str) -> RefusedError:
        """An error of the server."""
        return self._refusal(status, message, "InternalServerError")

    def invalid(self, what: str) -> RefusedError:
        """A body that is not what it should be."""
        return self._refusal(HTTPStatus.BAD_REQUEST, f"1 validation error:\n  {what}", HTTPStatus.BAD_REQUEST.phrase)

    def busy(self) -> RefusedError:
        """`--max-num-queued-reqs` is reached."""
        status = HTTPStatus.SERVICE_UNAVAILABLE
        message = "The engine is currently busy and cannot accept new requests. "
        return self._refusal(status, message + "Please try again later or on a different instance.", status.phrase)

    def models(self, created: int) -> Mapping[str, Any]:
        """`/v1/models`."""
        terms = self.terms
        cards: list[dict[str, Any]] = [
            {
                "id": name,
                "object": "model",
                "created": created,
                "owned_by": "vllm",
                "root": terms.root,
                "parent": None,
                "max_model_len": terms.context_tokens,
                "permission": [],
            }
            for name in terms.names
        ]
        return {"object": "list", "data": cards}

    def _unknown(self, model: str) -> RefusedError:
        message = f"The model `{model}` does not exist."
        if self.terms.version >= (0, 32, 0):
            message += f" Valid aliases: {', '.join(self.terms.names)}."
        return self._refusal(HTTPStatus.NOT_FOUND, message, "NotFoundError", "model")

    def _refusal(self, status: int, message: str, kind: str, parameter: str | None = None) -> RefusedError:
        error = {"message": message, "type": kind, "param": parameter, "code": int(status)}
        return RefusedError(int(status), {"error": error})

    def _check(self, prompt: int, limit: int | None, name: str) -> None:
        context = self.terms.context_tokens
        if limit is not None and limit < 1:
            message = f"{name} must be at least 1, got {limit}."
            raise self._refusal(HTTPStatus.BAD_REQUEST, message, "BadRequestError", name)
        message = _too_long(self.terms.version, context, prompt, limit)
        if message:
            parameter = "input_tokens" if self.terms.version >= (0, 18, 0) else None
            raise self._refusal(HTTPStatus.BAD_REQUEST, message, "BadRequestError", parameter)


def _too_long(version: Version, context: int, prompt: int, limit: int | None) -> str:
    """Complain, as vLLM does, about a request that does not fit the context; empty where it fits.

    Until 0.31 prompt and longest answer must fit together; from 0.32 on the answer is cut to what is left.
    """
    has = f"This model's maximum context length is {context} tokens"
    total = prompt + (limit or 0)
    if version >= (0, 32, 0):
        fits = prompt <= context
        message = (
            f"{has}. However, your prompt contains {prompt} input tokens, which exceeds this limit even without any "
            f"output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={prompt})"
        )
    elif version >= (0, 18, 0):
        fits = total <= context
        message = (
            f"{has}. However, you requested {limit or 0} output tokens and your prompt contains {prompt} input tokens, "
            f"for a total of {total} tokens. Please reduce the length of the input prompt or the number of requested "
            f"output tokens. (parameter=input_tokens, value={prompt})"
        )
    elif prompt >= context:
        fits = False
        message = (
            f"{has}. However, your request has {prompt} input tokens. Please reduce the length of the input messages."
        )
    else:
        fits = total <= context
        message = (
            f"'max_tokens' or 'max_completion_tokens' is too large: {limit}. {has} and your request has {prompt} input "
            f"tokens ({limit} > {context} - {prompt})."
        )
    return "" if fits else message


class SglangApi(OpenAiApi):
    """SGLang's words; it serves whatever model the client names."""

    def question(self, kind: Kind, raw: RawBody, identifier: str, created: int) -> Question:
        """What is asked."""
        try:
            body = _json(raw)
            if kind is Kind.GENERATE:
                return self._generate(body, identifier, created)
            return self._ask(kind, body, identifier, created, str(body.get("model") or self.terms.names[0]))
        except _Unreadable as error:
            raise self.invalid(str(error)) from error

    def error(self, status: int, message: str) -> RefusedError:
        """An error of the server."""
        kind = "BadRequestError" if status == HTTPStatus.BAD_REQUEST else str(int(status))
        body = {"object": "error", "message": message, "type": kind, "param": None, "code": int(status)}
        return RefusedError(int(status), body)

    def invalid(self, what: str) -> RefusedError:
        """A body that is not what it should be."""
        return self.error(HTTPStatus.BAD_REQUEST, f"1 validation error:\n  {what}")

    def busy(self) -> RefusedError:
        """`--max-queued-requests` is reached."""
        return self.error(HTTPStatus.SERVICE_UNAVAILABLE, "The request queue is full.")

    def models(self, created: int) -> Mapping[str, Any]:
        """`/v1/models`."""
        name = self.terms.names[0]
        card = {
            "id": name,
            "object": "model",
            "created": created,
            "owned_by": "sglang",
            "root": name,
            "parent": None,
            "max_model_len": self.terms.context_tokens,
        }
        return {"object": "list", "data": [card]}

    def whole(self, question: Question, reason: str) -> Mapping[str, Any]:
        """The answer at once."""
        if question.kind is not Kind.GENERATE:
            return super().whole(question, reason)
        return self._generated(question, question.answer_tokens, reason)

    def piece(self, question: Question, sent: int, made: int, reason: str | None) -> str:
        """`/generate` repeats the text so far in each part."""
        if question.kind is not Kind.GENERATE:
            return super().piece(question, sent, made, reason)
        return _line(self._generated(question, made, reason))

    def _generated(self, question: Question, made: int, reason: str | None) -> Mapping[str, Any]:
        ended = {"type": reason, "length": made} if reason == "length" else {"type": reason}
        meta = {
            "id": question.identifier,
            "finish_reason": None if reason is None else ended,
            "prompt_tokens": question.prompt_tokens,
            "completion_tokens": made,
            "cached_tokens": 0,
        }
        return {"text": WORD * made, "meta_info": meta}

    def _generate(self, body: Mapping[str, Any], identifier: str, created: int) -> Question:
        key = "input_ids" if body.get("input_ids") is not None else "text"
        prompt, tokenized = _prompt_of(body, key)
        parameters = body.get("sampling_params") or {}
        limit = _limit_of(parameters, "max_new_tokens")
        limit = GENERATE_TOKENS if limit is None else limit
        self._check(prompt, limit, "max_new_tokens")
        return Question(
            kind=Kind.GENERATE,
            identifier=identifier,
            created=created,
            model=self.terms.names[0],
            prompt_tokens=prompt,
            answer_tokens=max(1, limit),
            max_tokens=limit,
            reason="length",
            tokenized=tokenized,
            stream=bool(body.get("stream")),
            usage=False,
            usage_always=False,
        )

    def _check(self, prompt: int, limit: int | None, name: str) -> None:  # noqa: ARG002
        context = self.terms.context_tokens
        if prompt >= context:
            message = f"The input ({prompt} tokens) is longer than the model's context length ({context} tokens)."
        elif limit is not None and prompt + limit > context:
            message = (
                f"Requested token count exceeds the model's maximum context length of {context} tokens. You requested "
                f"a total of {prompt + limit} tokens: {prompt} tokens from the input messages and {limit} tokens for "
                "the completion. Please reduce the number of tokens in the input messages or the completion to fit "
                "within the limit."
            )
        else:
            return
        raise self.error(HTTPStatus.BAD_REQUEST, message)
