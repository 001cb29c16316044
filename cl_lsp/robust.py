"""pygls for clients that send anything: one line in the log for what is ignored, an error reply for
what has an id, and the next message is served.
"""

import asyncio
import json
import logging
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol import LanguageServerProtocol

log = logging.getLogger(__name__)
LONGEST = 300  # characters of a message that the log repeats


class RobustServer(LanguageServer):
    protocol: "RobustProtocol"  # pyright: ignore[reportIncompatibleVariableOverride]

    async def close(self) -> None:
        """Let go of all that the client's requests have opened."""

    def report_server_error(self, error: Exception, source: object) -> None:
        """A message that makes no sense is the log's business; pygls would pop up each one."""
        log.error("%s: %s", getattr(source, "__name__", source), _short(error))


class RobustProtocol(LanguageServerProtocol):
    """What a client says, one message after the other."""

    _began = False

    def receive(self, body: bytes) -> bool:
        """Serve one message; False if it is no JSON."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            log.warning("ignored: a message that is no JSON: %s", _short(error))
            return False
        if not isinstance(data, dict) or data.get("jsonrpc") != self.VERSION:
            log.warning("ignored: a message that is no JSON-RPC 2.0: %s", _short(data))
            return True
        if "id" in data and not _is_id(data["id"]):
            log.warning("ignored: a message whose id is none: %s", _short(data["id"]))
            return True
        if "method" in data and not isinstance(data["method"], str):
            self._refuse(data, "its method is no text")
        elif "method" in data and (wrong := self._untimely(data["method"])):
            self._refuse(data, *wrong)
        elif "method" not in data and data.get("id") not in self._result_types:
            log.warning("ignored: an answer to nothing that was asked: %s", _short(data))
        else:
            self._serve(data)
        return True

    def _serve(self, data: dict[str, Any]) -> None:
        try:
            message = self.structure_message(_whole(data))
        except Exception as error:  # cattrs raises what the values raise
            self._refuse(data, f"wrong parameters ({_why(error)})", -32602)
            waiting = None if "method" in data else self._request_futures.pop(data["id"], None)
            if waiting is not None and not waiting.done():  # for an answer that makes no sense
                waiting.set_exception(JsonRpcException("the client's answer makes no sense"))
            return
        try:
            self.handle_message(message)
            self._began = self._began or data.get("method") == types.INITIALIZE
        except Exception as error:
            log.exception("a message of ours went wrong")
            self._refuse(data, f"internal error ({_why(error)})", -32603)

    def structure_message(self, data: dict[str, Any]) -> Any:
        """As pygls, without a page of the log for each that fails."""
        method = data.get("method")
        if method is not None:
            kind = self.get_message_type(method)
        elif "error" in data:
            kind = types.ResponseErrorMessage
            self._result_types.pop(data["id"], None)
        else:
            kind = self._result_types.pop(data["id"], None)
        return self._converter.structure(data, kind) if kind else super().structure_message(data)

    def _untimely(self, method: str) -> tuple[str, int] | None:
        if method == types.INITIALIZE and self._began:
            return "it was initialized before", -32600
        if method not in (types.INITIALIZE, types.EXIT) and not self._began:
            return "`initialize` must come first", -32002
        if self._shutdown and method != types.EXIT:
            return "the server is shutting down", -32600
        return None

    def _refuse(self, data: dict[str, Any], why: str, code: int = -32600) -> None:
        log.warning("ignored: %s: %s", _short(data.get("method") or data), why)
        if "id" in data and "method" in data:
            self._send_response(data["id"], error=types.ResponseError(code, f"cl-lsp: {why}"))

    def _handle_cancel_notification(self, msg_id: Any) -> None:
        if _is_id(msg_id):
            super()._handle_cancel_notification(msg_id)
        else:
            log.warning("ignored: a cancel of what is no id: %s", _short(msg_id))

    def _execute_handler(
        self, msg_id: Any, handler: Any, callback: Any, args: Any = None, kwargs: Any = None
    ) -> None:
        super()._execute_handler(msg_id, handler, callback, args, kwargs)
        # pygls keeps those of notifications forever.
        if isinstance(future := self._request_futures.get(msg_id), asyncio.Future):
            future.add_done_callback(lambda _: self._drop(msg_id, future))

    def _drop(self, msg_id: Any, future: Any) -> None:
        if self._request_futures.get(msg_id) is future:
            del self._request_futures[msg_id]

    def _send_handler_result(self, future: Any, *, msg_id: Any) -> None:
        """As pygls, without a traceback for what a client has done wrong."""
        if not future.cancelled() and isinstance(error := future.exception(), JsonRpcException):
            self._request_futures.pop(msg_id, None)
            log.warning("request %s: %s", _short(msg_id), _short(error))
            self._send_response(msg_id, error=error.to_response_error())
            return
        super()._send_handler_result(future, msg_id=msg_id)


def _whole(data: dict[str, Any]) -> dict[str, Any]:
    """As their types want them: one that is not known must have params, and a change a version,
    of which some clients have none."""
    match data:
        case {
            "method": types.TEXT_DOCUMENT_DID_CHANGE,
            "params": {"textDocument": dict() as document},
        } if document.get("version") is None:
            document["version"] = 0
    return data if "params" in data or "method" not in data else data | {"params": None}


def _is_id(value: Any) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _why(error: Exception) -> str:
    inner = error
    while isinstance(inner, ExceptionGroup) and inner.exceptions:
        inner = inner.exceptions[0]
    return _short(f"{type(inner).__name__}: {inner}")


def _short(value: Any) -> str:
    text = str(value)
    return ascii(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
