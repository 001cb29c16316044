"""Every error the engine shows to a user, in one tree. `status` is the HTTP status it becomes."""

import os


class EngineError(Exception):
    """A request or a start-up failed for a reason the user can act on; the message says which."""

    status = 500
    kind = "server_error"
    code: str | None = None  # OpenAI's, where it has one
    retry_s = 0  # after how many seconds another try may do


class NotInstalled(EngineError):
    """cl-lsp was installed without its extra `engine`, or a library of it is gone."""

    fix = (
        "pip install 'cl_lsp-0.1.0-py3-none-any.whl[engine]' (the release's wheel; in a checkout "
        "'.[engine]'), or set engine.endpoint to a server elsewhere"
    )

    def __init__(self, missing: ModuleNotFoundError):
        super().__init__(f"the engine is not installed ({missing}): {self.fix}")


class DeviceLost(EngineError):
    """The device failed in a way that ends every computation of this process."""


class UnknownModel(EngineError):
    """No such model: neither `embedded` nor a directory with a checkpoint."""

    status = 404
    kind = code = "model_not_found"


class BrokenCheckpoint(EngineError):
    """The checkpoint's files are missing, truncated or do not fit together."""


class InvalidRequest(EngineError):
    """The request asks for something the engine does not offer."""

    status = 400
    kind = "invalid_request_error"


class Unauthorized(EngineError):
    """The request carries no token, or a wrong one."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class Forbidden(EngineError):
    """Whoever asks must not: a web page, or one who was told another name of this server."""

    status = 403
    kind = "permission_error"


class TooLarge(InvalidRequest):
    """More than a request can sensibly have."""

    status = 431


class Unsupported(InvalidRequest):
    """The loaded model lacks this capability."""


class Overloaded(EngineError):
    """The queue is full; try again shortly."""

    status = 429
    kind = "overloaded"
    code = "rate_limit_exceeded"
    retry_s = 1


class NoRoom(EngineError):
    """The model fits only when another one that is in use has ended."""

    status = 503
    kind = "no_room"
    retry_s = 5


class NotReady(EngineError):
    """The model is still loading, or the engine is stopping."""

    status = 503
    kind = "not_ready"
    retry_s = 1


class AddressInUse(EngineError):
    """Another daemon of this user serves this address already."""


class CannotServe(EngineError):
    """The address cannot be bound or the directory cannot be written."""


class CannotPull(EngineError):
    """The hub did not give the model's files; what has come stays, and the next pull goes on."""

    status = 502
    kind = "hub_error"


class HubUnreachable(CannotPull):
    """No connection to the hub, or offline mode."""


class GatedModel(CannotPull):
    """The owner wants a licence accepted and a token that shows it."""

    status = 403


class DiskFull(CannotPull):
    """There is no room for the model's files."""

    status = 507


def in_words(error: Exception) -> str:
    """What Python says of data that makes no sense, for people.

    >>> in_words(KeyError("model")), in_words(TypeError("'int' object is not subscriptable"))
    ('model is missing', 'it has another form')
    """
    match error:
        case KeyError(args=[key]):
            return f"{key} is missing"
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case TypeError() | AttributeError() | IndexError():
            return "it has another form"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)  # asyncio's own text is a tuple in parentheses
    return str(error) or type(error).__name__
