"""The wire: OpenAI's API, llama.cpp's `/infill`, and what there is to know of the daemon.

The calls themselves are in `answering` and `information`.
"""

from fastapi import Depends, FastAPI

from . import __version__, answering, information
from .guard import Access, Guard, answer_errors
from .registry import Registry

MAX_BODY = 8 << 20  # bytes; no context is nearly as long
OPEN = Access()


def create_app(registry: Registry, access: Access = OPEN) -> FastAPI:
    """The ASGI application."""
    app = FastAPI(
        title="cl-lsp engine", version=__version__, max_body_size=MAX_BODY, docs_url=None,
        redoc_url=None,
    )  # fmt: skip
    app.add_middleware(Guard, access=access)
    answer_errors(app)
    app.include_router(information.open_routes(registry))
    for part in (information, answering):
        app.include_router(part.routes(registry), dependencies=[Depends(access.authorized)])
    return app
