"""What `cl-lsp doctor` says of the settings, the user's daemon and servers elsewhere.

Findings in the form of the engine's doctor, which prints them with its own.
"""

import os
from collections.abc import AsyncIterator, Iterable

from .config import Config, EngineConfig
from .daemon import user_address
from .errors import ClLspError, EngineGone
from .remote import Remote, check_endpoint
from .status import daemon_status

Finding = dict[str, str]  # what, state ("ok", "note" or "wrong"), said, fix


async def findings(config: Config, problems: Iterable[object]) -> list[Finding]:
    found = [finding("settings", "wrong", str(problem), "docs/settings.md") for problem in problems]
    parts = {"endpoint": config.engine, "chat endpoint": config.chat_engine}
    for name, part in parts.items():
        if part.endpoint is not None and (name == "endpoint" or part != config.engine):
            found += [one async for one in _endpoint(name, part)]
    return found


def finding(what: str, state: str, said: str, fix: str = "") -> Finding:
    return {"what": what, "state": state, "said": said, "fix": fix}


async def daemon() -> Finding:
    """The user's own: whether it runs and answers, as `cl-lsp status` has it."""
    try:
        address = user_address()
        status = await daemon_status(address)
    except ClLspError as error:
        return finding("daemon", "wrong", str(error), "docs/trouble.md")
    if (uds := address.uds) is not None and uds.exists():
        if not uds.is_socket():
            return finding("daemon", "wrong", f"{uds} is not a socket", "move it away")
        if not os.access(uds, os.W_OK):
            fix = f"look who owns {uds.parent}, and its mode"
            return finding("daemon", "wrong", f"{uds} cannot be opened", fix)
    if status["status"] == "not running":
        left = f"; {address} was left by one, and will be replaced" if address.listener() else ""
        starts = f"; the first editor starts one at {address}"
        return finding("daemon", "ok", f"none runs{left or starts}")
    if "error" in status:
        state = "note" if status["status"] == "starting" else "wrong"
        return finding("daemon", state, status["error"], "cl-lsp stop")
    return finding("daemon", "ok", f"answers at {address}; more: cl-lsp status")


async def _endpoint(name: str, config: EngineConfig) -> AsyncIterator[Finding]:
    """Whether it answers, takes the key, has the model, and how it is told what to fill in."""
    section = "chat" if name.startswith("chat") else "engine"
    if warning := check_endpoint(config):
        yield finding(name, "note", warning, "https, or a server on this machine")
    remote = Remote(config)
    try:
        server, _ = await remote.find()
        refused = await remote.refusals()
    except ClLspError as error:
        gone = isinstance(error, EngineGone)
        fix = f"start it, or set {section}.endpoint" if gone else _fix(str(error), section)
        yield finding(name, "wrong", str(error), fix)
        return
    finally:
        await remote.close()
    key = "takes the key" if config.api_key else "asks for no key"
    said = f"{config.endpoint}: {server.kind}, {server.model or 'a model of its own'}; {key}"
    yield finding(name, "ok", said)
    if section == "chat":
        return
    why = refused.get("infilling")
    how = f"in {server.family}'s form" if server.family else "in its own way"
    if why is None:
        yield finding("infilling", "ok", how)
    else:
        fix = "set engine.fim if the model was trained to infill"
        yield finding("infilling", "note", f"{why}: it is told only what stands before", fix)


def _fix(error: str, section: str) -> str:
    unauthorised = any(word in error for word in ("401", "403", "key", "nauthori"))
    if unauthorised:
        return f"set {section}.api_key, or CL_LSP_{section.upper()}_API_KEY"
    return f"set {section}.model to one that it serves" if "model" in error else "see its log"
