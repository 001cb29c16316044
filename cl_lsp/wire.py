"""HTTP to one address, a unix socket or a URL: JSON, event streams, and what their errors mean.

Closing the connection IS the cancel: whoever leaves `events` early has stopped the work.
"""

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
    UnixConnector,
)
from yarl import URL

from .errors import (
    ClLspError,
    EngineBusy,
    EngineDied,
    EngineGone,
    EngineRefused,
    EngineSilent,
    WrongKey,
    in_words,
)

CONNECT_S = 5
# Before the first event may lie minutes of prefill on a CPU.
TIMEOUT_S = 600
MAX_LINE = 4 << 20  # bytes of one; some servers repeat the prompt in an answer's last
END_S = 0.2  # from an answer's last event to the end of its body; then its connection is given up


@dataclass(frozen=True)
class Address:
    """Where an engine listens: a unix socket, or a URL; `token` is the bearer that it asks for.

    Where there are no unix sockets a daemon tells port and token in `port_file`.
    """

    uds: Path | None = None
    url: str = ""
    token: str | None = field(default=None, repr=False)
    port_file: Path | None = None

    def __str__(self) -> str:
        return str(self.uds or self.port_file or self.url)

    @property
    def local(self) -> bool:
        """Whether the user's daemon listens there, or would."""
        return self.uds is not None or self.port_file is not None

    @property
    def lock(self) -> Path | None:
        """The file that the user's daemon locks as long as it lives."""
        made = self.uds or self.port_file
        return made and made.with_name(made.name + ".lock")

    def listener(self) -> object:
        """Changes when another daemon of this user's listens: it made the socket, or the file."""
        with contextlib.suppress(OSError):
            if (made := self.uds or self.port_file) is not None:
                found = made.stat()
                return found.st_ino, found.st_mtime_ns
        return None

    def now(self) -> tuple[str, str | None]:
        """The base of its URLs, and the token. Raises EngineGone if no daemon tells them."""
        if self.port_file is None:
            return self.url or "http://engine", self.token
        try:
            told = json.loads(self.port_file.read_text())
            return f"http://127.0.0.1:{int(told['port'])}", str(told["token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EngineGone(f"no engine answers at {self} ({in_words(error)})") from error

    @property
    def loopback(self) -> bool:
        """Whether what is sent there stays on this machine."""
        host = urlsplit(self.url).hostname or ""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(host).is_loopback
        return self.local or host == "localhost"

    @staticmethod
    def of(endpoint: str, token: str | None = None) -> "Address":
        """Of a user's word: `http://host:8000`, with or without `/v1`; `unix:/path/to.sock`.

        Raises ClLspError.
        """
        if endpoint.startswith("unix:"):
            return Address(uds=Path(endpoint.removeprefix("unix:")), token=token)
        url = endpoint.rstrip("/").removesuffix("/v1")
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ClLspError(f"endpoint {endpoint!r} is no URL such as http://host:8000/v1")
        return Address(url=url, token=token)


class Wire:
    """Keeps its connections open between requests. `timeout_s`: of silence."""

    def __init__(self, address: Address, timeout_s: float = TIMEOUT_S):
        self.address = address
        self._timeout = ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s)
        self._proxy = _proxy(address)
        self._urls: dict[str, URL] = {}
        self._session: ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def connections(self) -> int:
        """How many are in use."""
        pool = self._session and self._session.connector
        return len(pool._acquired) if pool else 0

    async def get(self, path: str, timeout: float = 5) -> Any:
        """The JSON of an answer, which may take `timeout` seconds. Raises EngineGone, EngineSilent,
        EngineBusy or EngineRefused."""
        return await self._json("GET", path, timeout)

    async def post(self, path: str, body: dict[str, Any], timeout: float = 30) -> Any:
        """As `get`."""
        return await self._json("POST", path, timeout, body)

    async def _json(self, method: str, path: str, timeout: float, body: Any = None) -> Any:
        try:
            response = await self._send(method, path, body, {}, ClientTimeout(total=timeout))
            try:
                await _raise_for_error(response)
                return json.loads(await response.read())
            finally:
                response.close()
        except TimeoutError as error:
            late = f"the engine at {self.address} does not answer within {timeout:g} s"
            raise EngineSilent(late) from error
        except (ClientError, ValueError) as error:
            raise EngineGone(f"no engine answers at {self.address} ({in_words(error)})") from error

    async def events(
        self,
        path: str,
        body: dict[str, Any],
        received: Callable[[], None] = lambda: None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Any]:
        """The JSON of each server-sent event, until `[DONE]` or the connection's end.

        `received` is called when the answer begins, also if that is with an error. Raises
        EngineGone, EngineDied, EngineBusy or EngineRefused.
        """
        async with self._answer(path, body, received, headers) as response:
            events = _events(response)
            async for data in events:
                if data == "[DONE]":
                    break
                yield json.loads(data)
            await _read_out(events)

    async def lines(
        self, path: str, body: dict[str, Any], received: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Any]:
        """As `events`, of an answer that has a JSON object in each line."""
        async with self._answer(path, body, received, None) as response:
            async for line in response.content:
                yield json.loads(line)

    @contextlib.asynccontextmanager
    async def _answer(
        self,
        path: str,
        body: dict[str, Any],
        received: Callable[[], None],
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[ClientResponse]:
        """A response that is none of an error; what goes wrong while it is read is one of ours."""
        begun = False
        try:
            response = await self._send("POST", path, body, headers or {}, self._timeout)
            begun = True
            try:
                received()
                await _raise_for_error(response)
                yield response
            finally:
                response.close()  # and its connection, unless the answer was read to its end
        except ClientConnectorError as error:
            raise EngineGone(f"no engine answers at {self.address} ({in_words(error)})") from error
        except TimeoutError as error:
            silent = f"the engine at {self.address} is silent ({in_words(error)})"
            raise EngineDied(silent, safe=False) from error
        except (ClientError, ValueError) as error:
            broken = f"the engine at {self.address} broke off ({in_words(error)})"
            raise EngineDied(broken, safe=not begun) from error

    async def _send(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], timeout: ClientTimeout
    ) -> ClientResponse:
        """The beginning of the response; who gets it closes it."""
        base, token = self.address.now()
        if self._session is None:  # made here, as it belongs to a running loop
            self._session = _session(self.address)
        elif self._session.closed:
            raise EngineGone(f"the connection to {self.address} was closed", safe=False)
        # To parse a URL takes as long as the rest of a request's making.
        if base + path not in self._urls:
            self._urls[base + path] = URL(base + path)
        own = {"Authorization": f"Bearer {token}"} if token else {}
        data = None
        if body is not None:
            own["Content-Type"] = "application/json"
            text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
            data = text.encode("utf-8", "replace")  # a lone surrogate is no character
        return await self._session.request(
            method,
            self._urls[base + path],
            data=data,
            headers=own | dict(headers),
            timeout=timeout,
            allow_redirects=False,
            proxy=self._proxy,
        )


def _session(address: Address) -> ClientSession:
    # A server that closes what is idle does so after 5 s at the earliest (uvicorn).
    kept = 3600 if address.local else 4
    pool = (
        UnixConnector(str(address.uds), limit=0, keepalive_timeout=kept)
        if address.uds
        else TCPConnector(limit=0, keepalive_timeout=kept)
    )
    return ClientSession(
        connector=pool,
        cookie_jar=DummyCookieJar(),
        read_bufsize=MAX_LINE,
    )


def _proxy(address: Address) -> str | None:
    """The environment's, for what is elsewhere. aiohttp's own way reads ~/.netrc as well, whose
    passwords are not meant for an engine."""
    parts = urlsplit(address.url)
    if address.loopback or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)


async def _events(response: ClientResponse) -> AsyncGenerator[str]:
    """The data of each server-sent event (WHATWG HTML, 9.2)."""
    data: list[str] = []
    async for line in response.content:
        text = line.decode(errors="replace").rstrip("\r\n")
        if text.startswith("data:"):
            data.append(text[5:].removeprefix(" "))
        elif not text and data:
            yield "\n".join(data)
            data.clear()


async def _read_out(events: AsyncIterator[Any]) -> None:
    """To the end of the body, which follows at once: a connection that is left before is lost."""
    with contextlib.suppress(TimeoutError, ClientError):
        async with asyncio.timeout(END_S):
            async for _ in events:
                pass


async def _raise_for_error(response: ClientResponse) -> None:
    code = response.status
    if 200 <= code < 300:
        return
    message, kind = _said(code, await response.read())
    if code in (401, 403):
        whence = "engine.api_key or CL_LSP_ENGINE_API_KEY (for chat.endpoint: chat.api_key)"
        raise WrongKey(f"{message} (HTTP {code}: is the API key right? {whence} has it)")
    if code == 503 and kind == "not_ready":
        raise EngineGone(message)
    if code == 429 or (code >= 500 and code != 501):  # what may be otherwise soon
        raise EngineBusy(message, _seconds(response.headers.get("retry-after")))
    raise EngineRefused(message)


def _said(code: int, answer: bytes) -> tuple[str, str]:
    """An error's message and type, in any of the forms that servers have."""
    fallback = f"HTTP {code}"
    try:
        body = json.loads(answer)
    except ValueError:
        return fallback, ""
    found = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(found, dict):
        message = found.get("message") or found.get("detail")
        kind = str(found.get("type", ""))
    else:
        message, kind = found, ""
    return (message if isinstance(message, str) and message else fallback), kind


def _seconds(retry_after: str | None) -> float | None:
    try:
        return None if retry_after is None else max(0.0, float(retry_after))
    except ValueError:
        return None  # a date, which no engine sends
