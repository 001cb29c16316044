"""What `cl-lsp status` tells: of the user's daemon, or of a server elsewhere."""

from collections.abc import Iterator
from typing import Any

from .client import EngineClient
from .config import EngineConfig
from .errors import (
    ClLspError,
    EngineGone,
    EngineRefused,
    EngineSilent,
    NotOurs,
    WrongKey,
    in_words,
)
from .holder import holder, mute
from .wire import Address


async def daemon_status(address: Address) -> dict[str, Any]:
    """Of an engine of ours. If it cannot be asked: status "not running", or "starting", "mute" or
    "foreign" and an `error` in words. Raises WrongKey."""
    client = EngineClient(address)
    known = {"address": str(address)}
    try:
        health = await client.health()
        card = (await client.models())[0]
        status = health | await client.status() | known | _of_card(card)
        list(_of_daemon(status))  # only one of ours can be told
        return status
    except WrongKey:
        raise
    except (EngineRefused, LookupError, TypeError, ValueError, AttributeError) as error:
        why = in_words(error)
        said = f"what answers at {address} is no cl-lsp engine that this version knows ({why})"
        return known | {"status": "foreign", "error": said}
    except NotOurs as error:
        return known | {"status": "foreign", "error": str(error)}
    except EngineSilent as error:
        return known | _mute(address, mute(address) if address.local else str(error))
    except EngineGone:
        if (pid := holder(address)) is None:
            return known | {"status": "not running"}
        if address.listener() is None:
            return known | _mute(address, mute(address))
        said = f"the daemon (pid {pid}) does not listen at {address} yet"
        return known | {"status": "starting", "pid": pid, "error": said}
    finally:
        await client.close()


def _mute(address: Address, said: str) -> dict[str, Any]:
    return {"status": "mute", "pid": holder(address), "error": said}


async def remote_status(config: EngineConfig) -> dict[str, Any]:
    """Of a server elsewhere; status "unreachable" or "refused", and why, if it cannot be asked."""
    from .remote import Remote

    remote = Remote(config)
    try:
        server, _ = await remote.find()
        refused = await remote.refusals()
        known = {"kind": server.kind, "model": server.model, "fim": server.family}
        return {"status": "ok", "address": str(remote.address), "refused": refused} | known
    except ClLspError as error:
        status = "unreachable" if isinstance(error, EngineGone) else "refused"
        return {"status": status, "address": str(remote.address), "error": str(error)}
    finally:
        await remote.close()


def _of_card(card: dict[str, Any]) -> dict[str, Any]:
    return {name: card[name] for name in ("context_length", "capabilities", "refused")}


def lines(status: dict[str, Any]) -> Iterator[str]:
    """For people.

    >>> print(*lines({"status": "not running", "address": "/run/engine.sock"}))
    not running
    """
    if status["status"] == "not running":
        yield "not running"
    elif "error" in status:
        yield f"{status['status']}: {status['error']}"
    elif "kind" in status:
        yield f"{status['address']}: {status['kind']}, model {status['model'] or 'its own'}"
        why = status["refused"].get("infilling")
        yield f"infills: {f'no, {why}' if why else 'yes'}"
    else:
        yield from _of_daemon(status)


def _of_daemon(status: dict[str, Any]) -> Iterator[str]:
    yield f"{status['model']}: {status['status']}; requests under way: {status['active']}"
    yield (
        f"pid {status['pid']}, version {status['version']}, up {_time(status['uptime_s'])},"
        f" {counted(status['clients'], 'client')} in the last 10 min, at {status['address']}"
    )
    can = ", ".join(status["capabilities"])
    yield f"context {status['context_length']}, can: {can}"
    for model in status["models"]:
        if model["status"] != "ok":
            yield f"{model['id']}: {model['status']}"
            continue
        memory = {name: f"{size / 2**30:.2f}" for name, size in model["memory"].items()}
        yield (
            f"{model['id']} computes on: {model['computes']}; weights {memory['weights']} GiB,"
            f" KV cache up to {memory['kv_cache']} GiB"
        )
        for lane, recent in model["recent"].items():
            first, whole = recent["first_ms"], recent["whole_ms"]
            cached = f"{recent['cached']:.0%}" if recent["cached"] is not None else "none"
            spans = [f"{name} ms p50 {p['p50']:g} p95 {p['p95']:g}"
                     for name, p in (("first", first), ("whole", whole)) if p]  # fmt: skip
            yield f"  {lane}: last {recent['requests']}, {cached} cached, {', '.join(spans)}"


def counted(number: int, noun: str) -> str:
    """
    >>> counted(1, "token"), counted(0, "client")
    ('1 token', '0 clients')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(seconds: float) -> str:
    """
    >>> _time(59), _time(3700), _time(90000)
    ('59 s', '1 h 1 min', '25 h 0 min')
    """
    minutes = int(seconds // 60)
    if minutes < 60:
        return f"{minutes} min" if minutes else f"{int(seconds)} s"
    return f"{minutes // 60} h {minutes % 60} min"
