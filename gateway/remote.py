"""A chat server as its client sees it: what the terminal commands talk to."""

import base64
import json
import mimetypes
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

FEW = 8  # tokens; over fewer the clock says nothing about speed
BRIEF_S = 0.02  # in less, what arrived had been waiting for this client rather than been written meanwhile


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
        writing_s = self.total_s - self.first_s
        if self.num_completion >= FEW and writing_s >= BRIEF_S:
            told += f", {(self.num_completion - 1) / writing_s:.0f} tokens/s"
        return f"{told}, prompt of {self.num_prompt} tokens ({self.num_cached} cached)"


class Remote:
    """A client for `with`. `key` is the server's API key, if it wants one; `session` names the conversation
    to a server that keeps a KV cache for each."""

    def __init__(self, base_url: str, key: str | None = None, session: str | None = None) -> None:
        """Raises RemoteError for what is no URL."""
        if not _is_http(base_url):
            raise RemoteError(f"{base_url} is not the URL of a server, such as http://127.0.0.1:8080/v1.")
        self._base_url = base_url.rstrip("/")
        headers = {"X-Session-Id": session} if session else {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        timeout = httpx.Timeout(10.0, read=None)  # a long prompt on a slow card may take minutes
        self._http = httpx.Client(headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def models(self) -> list[dict[str, Any]]:
        """The entries of /v1/models, at least one. Raises RemoteError."""
        with self._understood():
            response = self._http.get(f"{self._base_url}/models")
            self._check(response)
            models = [{**model, "id": str(model["id"])} for model in response.json()["data"]]
            if not models:
                raise RemoteError(f"The server at {self._base_url} has no model.")
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
        with self._understood(), self._http.stream("POST", url, json=body | fields) as response:
            self._check(response)
            for event in _events(response):
                for choice in event["choices"]:
                    if text := choice["delta"].get("content"):
                        first_s = first_s or monotonic() - start_s
                        yield text
                if usage := event.get("usage"):
                    yield _stats(usage, first_s, monotonic() - start_s)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Whatever goes wrong between two programs becomes a sentence."""
        try:
            yield
        except httpx.ConnectError:
            raise RemoteError(
                f"No server answers at {self._base_url}. Start one with `axgate serve`."
            ) from None
        except httpx.HTTPError as error:
            raise RemoteError(f"The connection to {self._base_url} broke: {error}.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise RemoteError(f"What answers at {self._base_url} is no chat server.{self._hint}") from None

    def _check(self, response: httpx.Response) -> None:
        if response.status_code == 200:
            return
        response.read()
        try:
            message = response.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = f"The server answered {response.status_code} {response.reason_phrase}."
        raise RemoteError(message + (self._hint if response.status_code == 404 else ""))

    @property
    def _hint(self) -> str:
        return "" if self._base_url.endswith("/v1") else f" Did you mean {self._base_url}/v1?"


def user_message(text: str, images: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """With `images` as `image_part` makes them."""
    return {"role": "user", "content": [*images, {"type": "text", "text": text}]}


def image_part(path: Path) -> dict[str, object]:
    """A picture for a message. Raises RemoteError where it cannot be read."""
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise RemoteError(f"Cannot read the picture {path}: {error.strerror}.") from None
    mime = mimetypes.guess_type(path.name)[0] or "image/png"
    url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _is_http(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
        return parsed.scheme in ("http", "https") and parsed.host != ""
    except (httpx.InvalidURL, UnicodeError):
        return False


def _stats(usage: dict[str, Any], first_s: float, total_s: float) -> Stats:
    details = usage.get("prompt_tokens_details") or {}  # not every server has them
    return Stats(
        first_s=first_s,
        total_s=total_s,
        num_prompt=usage["prompt_tokens"],
        num_cached=details.get("cached_tokens", 0),
        num_completion=usage["completion_tokens"],
    )


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in response.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise RemoteError(event["error"]["message"])
            yield event
