"""Every error that the editor's side shows to a user, in one tree; the message says what to do."""

import os

from .reasons import Reason


class ClLspError(Exception):
    """Something the user asked for cannot be done; `reason` names it where a suggestion was."""

    reason = Reason.REFUSED


class Unsettled(ClLspError):
    """The editor was asked for its settings, and has not told them."""

    reason = Reason.UNSETTLED

    def __init__(self) -> None:
        super().__init__(self.reason.sentence)


class CannotStart(ClLspError):
    """The engine could not be started; carries what it said itself."""

    reason = Reason.CANNOT_START


class EngineGone(ClLspError):
    """Nobody answers at the engine's address, or it died while it answered.

    `safe`: nothing has come of the request, so that it may be sent again at once.
    """

    reason = Reason.GONE

    def __init__(self, message: str, *, safe: bool = True):
        super().__init__(message)
        self.safe = safe


class EngineSilent(EngineGone):
    """It is there, and takes too long: it hangs, was stopped, or the machine has no time for it."""


class NotOurs(EngineGone):
    """What answers is another program."""


class EngineDied(EngineGone):
    """The engine ended, or fell silent, while it answered."""


class EngineResting(EngineGone):
    """It keeps failing, and is not asked for a while; nothing that was not said before."""

    reason = Reason.RESTING

    def __init__(self, message: str):
        super().__init__(message, safe=False)


class EngineRefused(ClLspError):
    """The engine answered with an error of its own."""


class WrongKey(EngineRefused):
    """The engine asks for an API key, and has not got the right one."""


class EngineBusy(EngineRefused):
    """It could, but not now. `retry_s`: so long it asks to be left alone, if it says."""

    reason = Reason.BUSY

    def __init__(self, message: str, retry_s: float | None = None):
        super().__init__(message)
        self.retry_s = retry_s


class Unreadable(ClLspError):
    """The file is binary, too large, secret or not there, or the position lies outside it."""

    def __init__(self, message: str, reason: Reason = Reason.CLOSED):
        super().__init__(message)
        self.reason = reason


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
