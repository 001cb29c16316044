"""All settings in one frozen tree; a field's docstring is its manual. `settings.py` reads them."""

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from .fim import Family

EMBEDDED = "embedded"


def setting(
    default: Any,
    *,
    workspace: bool | Literal["stricter"] = False,
    least: float | None = None,
    most: float | None = None,
) -> Any:
    """A field. `workspace`: whether a repository's own file may set it: nothing that sends code
    anywhere, reads files, or takes memory. "stricter": it may turn a switch off, and add to a list.
    """
    return field(default=default, metadata={"workspace": workspace, "least": least, "most": most})


@dataclass(frozen=True)
class EngineConfig:
    """The engine that completes: a daemon on this machine, or a server elsewhere."""

    model: str | None = setting(None)
    """`embedded`, the directory of a checkpoint, or a model of the hub that was pulled; of a server
    elsewhere one of its own. Not set: `embedded`, or the server's first."""

    endpoint: str | None = setting(None)
    """URL of a server that completes instead of the daemon: another cl-lsp, vLLM, SGLang, lmdeploy,
    TGI, llama.cpp, Ollama, or anything that speaks OpenAI's API. Code is sent there."""

    api_key: str | None = setting(None)
    """What that server asks for."""

    fim: Literal["auto", "none", Family] = setting("auto")
    """How the model of a server elsewhere is told what stands before and after the cursor. `auto`:
    by the model's name; `none`: it is told only what stands before."""

    timeout_seconds: float = setting(30, least=0.1)
    """So long a server elsewhere may take to begin an answer, or between two pieces of it."""

    chat_template: str | None = setting(None)
    """A file that says what the model can do, for a daemon that this editor starts."""

    kernels: Literal["auto", "torch"] = setting("auto")
    """`torch`: a daemon that this editor starts runs the model without our GPU kernels, slower."""

    context: int | None = setting(None, least=1)
    """Tokens that such a daemon can see at once: fewer take less memory."""

    kv_memory: float | None = setting(None, least=0.001)
    """GiB of its KV cache. Not set: four contexts, or what is free."""

    unload_after_minutes: float = setting(0, least=0)
    """It frees a model's memory after so long without a request, and loads it again when someone
    asks. 0: never."""

    idle_exit_minutes: float = setting(30, least=0)
    """It ends after so long without a request. 0: never."""


@dataclass(frozen=True)
class ChatConfig:
    """The model that chats; what is not set is as for completions."""

    model: str | None = setting(None)
    """As `engine.model`."""

    endpoint: str | None = setting(None)
    """As `engine.endpoint`: a second server, for chats only."""

    api_key: str | None = setting(None)
    """What that server asks for."""

    max_tokens: int = setting(700, workspace=True, least=1, most=8192)
    """Longest answer, in tokens."""


@dataclass(frozen=True)
class CompletionConfig:
    """What is suggested."""

    max_tokens: int = setting(48, workspace=True, least=1, most=512)
    """Longest suggestion, in tokens."""

    time_budget_ms: int = setting(600, workspace=True, least=0)
    """Show what there is after so many milliseconds, or soon after the first word if that comes
    later. 0: when it is finished, however long. VS Code shows nothing that takes over 750."""

    candidates: int = setting(3, workspace=True, least=1, most=10)
    """So many suggestions at most, to choose from, when you ask for one by hand. Of servers
    elsewhere only another cl-lsp is asked for more than one."""

    prefetch: bool = setting(True, workspace=True)
    """Ask for what follows a suggestion while it is shown, so that it is there when it is accepted.
    Of servers elsewhere only another cl-lsp is asked so."""

    warming: bool = setting(True, workspace=True)
    """Let the engine read what stands around the cursor when a document is opened or saved and when
    the cursor jumps, so that the first key there is answered as soon as the others. Of servers
    elsewhere only another cl-lsp is asked so."""

    snippets: bool = setting(True, workspace=True)
    """Send pieces of the workspace's other files that the cursor may need: see
    [context.md](context.md)."""

    snippet_characters: int = setting(2400, workspace=True, least=0, most=20_000)
    """Longest they may be in all. If that is more than the model's context has room for, the least
    useful ones are left out."""

    popup: bool | None = setting(None, workspace=True)
    """Offer `textDocument/completion` too. Not set: only to clients without inline completion.
    Read at the start."""

    enabled: bool = setting(True, workspace="stricter")
    """Suggest at all."""

    languages: tuple[str, ...] = setting(("*",))
    """LSP's ids of the languages in which to suggest; `*` is every one."""

    disabled_languages: tuple[str, ...] = setting((), workspace="stricter")
    """Those of them in which not to. Each place adds to the list."""

    disabled_globs: tuple[str, ...] = setting((), workspace="stricter")
    """Files in which not to suggest, as patterns of a `.gitignore` at the workspace's root. Each
    place adds to the list."""

    in_comments: bool = setting(True, workspace=True)
    """Suggest inside comments."""

    in_strings: bool = setting(True, workspace=True)
    """Suggest inside strings."""


@dataclass(frozen=True)
class PrivacyConfig:
    """What no model is shown. Files with names such as `.env`, `*.pem` and `id_rsa` never are."""

    ignored_globs: tuple[str, ...] = setting((), workspace="stricter")
    """More files that are never read into a prompt, as patterns of a `.gitignore` at the
    workspace's root. Each place adds to the list."""

    complete_ignored: bool = setting(False)
    """Suggest in an open file that `.gitignore` or `.cl-lsp-ignore` names."""

    complete_private: bool = setting(False)
    """Suggest in an open file whose name says that it holds keys or credentials."""


@dataclass(frozen=True)
class Config:
    engine: EngineConfig = EngineConfig()
    chat: ChatConfig = ChatConfig()
    completion: CompletionConfig = CompletionConfig()
    privacy: PrivacyConfig = PrivacyConfig()

    @property
    def chat_engine(self) -> EngineConfig:
        """What chats are asked of."""
        own, shared = self.chat, self.engine
        if own.endpoint is not None:
            return replace(shared, endpoint=own.endpoint, api_key=own.api_key, model=own.model)
        return replace(shared, model=own.model or shared.model)


SECTIONS: dict[str, type] = {f.name: type(f.default) for f in fields(Config)}
