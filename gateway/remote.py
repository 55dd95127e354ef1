"""A chat server as its client sees it: what the terminal commands talk to."""

import base64
import json
import mimetypes
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

FEW = 8  # tokens; over fewer the clock says nothing about speed


class RemoteError(Exception):
    """No server, or one that refuses; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What an answer took, as the client measured it."""

    first_s: float
    total_s: float
    num_prompt: int
    num_cached: int
    num_completion: int

    def __str__(self) -> str:
        told = f"first token after {self.first_s * 1000:.0f} ms"
        if self.num_completion >= FEW:
            told += f", {(self.num_completion - 1) / (self.total_s - self.first_s):.0f} tokens/s"
        return f"{told}, prompt of {self.num_prompt} tokens ({self.num_cached} cached)"


class Remote:
    """A client for `with`. `session` names the conversation to a server that keeps a KV cache for each."""

    def __init__(self, base_url: str, session: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        headers = {"X-Session-Id": session} if session else {}
        timeout = httpx.Timeout(10.0, read=None)  # a long prompt on a slow card may take minutes
        self._http = httpx.Client(headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """The entries of /v1/models. Raises RemoteError."""
        try:
            response = self._http.get(f"{self._base_url}/models")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        _check(response)
        models: list[dict[str, Any]] = response.json()["data"]
        return models

    def ask(
        self, model: str, messages: Sequence[Mapping[str, object]], **fields: object
    ) -> Generator[str | Stats, None, None]:
        """The answer in pieces as they come, then what it took. Raises RemoteError.
        Closing the generator cancels the answer on the server."""
        body = {
            "model": model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        url = f"{self._base_url}/chat/completions"
        start_s = monotonic()
        first_s = 0.0
        try:
            with self._http.stream("POST", url, json=body | fields) as response:
                _check(response)
                for event in _events(response):
                    for choice in event["choices"]:
                        if text := choice["delta"].get("content"):
                            first_s = first_s or monotonic() - start_s
                            yield text
                    if usage := event.get("usage"):
                        yield _stats(usage, first_s, monotonic() - start_s)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: httpx.HTTPError) -> RemoteError:
        if isinstance(error, httpx.ConnectError):
            return RemoteError(f"No server answers at {self._base_url}. Start one with `axgate serve`.")
        return RemoteError(f"The connection to {self._base_url} broke: {error}.")


def user_message(text: str, pictures: Sequence[Path]) -> dict[str, object]:
    """Raises RemoteError for a picture that cannot be read."""
    images = [{"type": "image_url", "image_url": {"url": _data_url(path)}} for path in pictures]
    return {"role": "user", "content": [*images, {"type": "text", "text": text}]}


def _stats(usage: dict[str, Any], first_s: float, total_s: float) -> Stats:
    details = usage.get("prompt_tokens_details") or {}  # not every server has them
    return Stats(
        first_s=first_s,
        total_s=total_s,
        num_prompt=usage["prompt_tokens"],
        num_cached=details.get("cached_tokens", 0),
        num_completion=usage["completion_tokens"],
    )


def _data_url(path: Path) -> str:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise RemoteError(f"Cannot read the picture {path}: {error.strerror}.") from None
    mime = mimetypes.guess_type(path.name)[0] or "image/png"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise RemoteError(event["error"]["message"])
            yield event


def _check(response: httpx.Response) -> None:
    if response.status_code == 200:
        return
    response.read()
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = f"The server answered {response.status_code} {response.reason_phrase}."
    raise RemoteError(message)
