"""Every error a client can be told about; each class knows its HTTP status and OpenAI `type` and `code`.

GatewayError                    500 server_error
├── InvalidRequest              400 invalid_request_error
│   ├── ContextLengthExceeded       context_length_exceeded
│   ├── PreviousResponseNotFound    previous_response_not_found
│   ├── InvalidImage                invalid_image_format
│   ├── InvalidImageUrl             invalid_image_url
│   ├── InvalidVideo                invalid_video_format
│   │   └── StillPicture                invalid_value
│   └── InvalidVideoUrl             invalid_video_url
├── Unauthorized                401 invalid_request_error
│   ├── NoApiKey
│   └── InvalidApiKey               invalid_api_key
├── NotFound                    404 invalid_request_error
│   └── ModelNotFound               model_not_found
├── MethodNotAllowed            405 invalid_request_error
├── BodyTimeout                 408 invalid_request_error
├── BodyTooLarge                413 invalid_request_error
├── BodyEncoded                 415 invalid_request_error
├── Unavailable                 503 server_error, with Retry-After
│   ├── Overloaded                  overloaded
│   └── EngineRestarting            engine_restarting
└── EngineFailure               500 server_error, engine_failure
"""

from typing import ClassVar


class GatewayError(Exception):
    """`message` is a sentence for the client; `param` names the offending field as OpenAI writes it."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str | None = None
    retry_after_s: float | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are pickled by their args alone; ours cross from the worker process with all they carry.
        return (_restore, (type(self), self.__dict__))


def cut(text: str, max_chars: int = 64) -> str:
    """What a client sent, as short as it may be told back."""
    return text if len(text) <= max_chars else f"{text[: max_chars - 1]}…"


def printable(text: str) -> str:
    """A text that others wrote, as a terminal may show it: on one line, and without control characters, which
    could move its cursor or worse."""
    spaced = (" " if letter.isspace() else letter for letter in text)
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in spaced)


def _restore(kind: type[GatewayError], state: dict[str, object]) -> GatewayError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class InvalidRequest(GatewayError):
    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"

    def __init__(
        self,
        limit: int,
        num_text: int,
        num_image: int = 0,
        what: str = "images",
        fitting: str = "",
        *,
        at_least: bool = False,
    ) -> None:
        """`what` is what the `num_image` tokens are for, `fitting` a sentence on what would fit; `at_least`
        where so much was enough to know."""
        # Clients look for these very words and for the code inside the message: reference in docs/api.md.
        found = f"{'at least ' if at_least else ''}{num_text + num_image} tokens"
        pictures = f", {num_image} of them for {what}" if num_image else ""
        super().__init__(
            f"This model's maximum context length is {limit} tokens. However, your messages resulted in "
            f"{found}{pictures} (context_length_exceeded). "
            f"{fitting}Please reduce the length of the messages.",
            param="messages",
        )


class PreviousResponseNotFound(InvalidRequest):
    code = "previous_response_not_found"

    def __init__(self, id: str) -> None:
        super().__init__(f"Previous response with id '{cut(id)}' not found.", param="previous_response_id")


class InvalidImage(InvalidRequest):
    code = "invalid_image_format"


class InvalidImageUrl(InvalidRequest):
    code = "invalid_image_url"


class InvalidVideo(InvalidRequest):
    code = "invalid_video_format"


class StillPicture(InvalidVideo):
    """The type of its part is what is wrong."""

    code = "invalid_value"


class InvalidVideoUrl(InvalidRequest):
    code = "invalid_video_url"


class Unauthorized(GatewayError):
    status = 401
    type = "invalid_request_error"


class NoApiKey(Unauthorized):
    def __init__(self) -> None:
        super().__init__(
            "You didn't provide an API key. You need to provide your API key in an Authorization header "
            "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
        )


class InvalidApiKey(Unauthorized):
    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("Incorrect API key provided.")


class NotFound(GatewayError):
    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    status = 405
    type = "invalid_request_error"


class BodyTimeout(GatewayError):
    status = 408
    type = "invalid_request_error"


class BodyTooLarge(GatewayError):
    status = 413
    type = "invalid_request_error"


class BodyEncoded(GatewayError):
    status = 415
    type = "invalid_request_error"


class Unavailable(GatewayError):
    """Worth trying again after `retry_after_s` seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    code = "overloaded"


class EngineRestarting(Unavailable):
    code = "engine_restarting"


class EngineFailure(GatewayError):
    code = "engine_failure"
