"""Every error that the editor's side shows to a user, in one tree; the message says what to do."""


class ClLspError(Exception):
    """Something the user asked for cannot be done."""


class CannotStart(ClLspError):
    """The engine could not be started; carries what it said itself."""


class EngineGone(ClLspError):
    """Nobody answers at the engine's address, or it died while it answered."""


class EngineDied(EngineGone):
    """The engine ended while it answered."""


class EngineRefused(ClLspError):
    """The engine answered with an error of its own."""


class Unreadable(ClLspError):
    """The file is binary, too large or not there, or the position lies outside it."""
