"""Who may ask: a key over TCP, and no web page of the user's browser; errors in OpenAI's form.

A page can post to loopback without being asked. It cannot hide its Origin, and a name of its own
that it points to this machine stands in Host: both are refused before anything is read.
"""

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from .envelope import error_body
from .errors import EngineError, Forbidden, InvalidRequest, TooLarge, Unauthorized

MAX_HEADERS = 16 << 10  # bytes


@dataclass(frozen=True)
class Access:
    """Who may ask. `key`: the bearer token, None for none; `where`: ", token in FILE", for people.

    `tcp`: whether Host and Origin mean something; `names`: of this server, beside IP addresses
    (None: any, where other machines call it by names that it does not know).
    """

    key: str | None = None
    where: str = ""
    tcp: bool = False
    names: frozenset[str] | None = frozenset({"localhost"})

    async def authorized(self, request: Request) -> None:
        """A dependency of all routes but `/health`. Raises Unauthorized."""
        given = request.headers.get("authorization", "").encode()
        if self.key is not None and not hmac.compare_digest(given, f"Bearer {self.key}".encode()):
            raise Unauthorized(f"this server wants its token: Authorization: Bearer …{self.where}")

    def check(self, headers: Headers) -> None:
        """Raises Forbidden or TooLarge."""
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADERS:
            raise TooLarge(f"more than {MAX_HEADERS} bytes of headers")
        if not self.tcp:
            return
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._ours(host):
            raise Forbidden("this server does not go by that name (Host)")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Forbidden("this server does not answer web pages (Origin)")

    def _ours(self, host: str) -> bool:
        if self.names is None:
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.lower() in self.names
        return True


class Guard:
    """ASGI middleware: asks `access` about every request before it reaches the application."""

    def __init__(self, app: ASGIApp, access: Access):
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._access.check(Headers(scope=scope))
            except EngineError as error:
                await JSONResponse(error_body(error), error.status)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def answer_errors(app: FastAPI) -> None:
    """Whatever goes wrong is an error in OpenAI's form. What was sent is never repeated."""

    @app.exception_handler(EngineError)
    async def on_engine_error(_request: Request, error: EngineError) -> JSONResponse:
        headers = {"retry-after": str(error.retry_s)} if error.retry_s else None
        return JSONResponse(error_body(error), error.status, headers)

    @app.exception_handler(HTTPException)
    async def on_http_error(_request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(error_body(InvalidRequest(error.detail)), error.status_code)

    @app.exception_handler(Exception)
    async def on_failure(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse(error_body(EngineError("the server failed; its log says how")), 500)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "json_invalid":
            where, said = "", "the body is not JSON"
        elif not where and "json" not in request.headers.get("content-type", ""):
            said = "send JSON, and say so: Content-Type: application/json"
        wrong = InvalidRequest(f"{where}: {said}" if where else said)
        return JSONResponse(error_body(wrong, where or None), wrong.status)
