"""All settings in one frozen tree, read at the edge; a field's docstring is its manual.

From weak to strong: defaults, the user's `cl-lsp.toml`, the workspace's `cl-lsp.toml` (keys that do
no harm), `CL_LSP_SECTION_KEY` of the environment, the editor. What is wrong keeps the weaker value.
"""

import json
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import platformdirs

from .errors import ClLspError
from .fim import Family
from .wire import Address

FILE = "cl-lsp.toml"
EMBEDDED = "embedded"


def setting(
    default: Any, *, workspace: bool = False, least: float | None = None, most: float | None = None
) -> Any:
    """A field. `workspace`: whether a repository's own file may set it: nothing that sends code
    anywhere, reads files, or takes memory."""
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

    time_budget_ms: int = setting(0, workspace=True, least=0)
    """Show what there is after so many milliseconds. 0: when it is finished, however long."""

    prefetch: bool = setting(True, workspace=True)
    """Ask for what follows a suggestion while it is shown, so that it is there when it is accepted.
    Of servers elsewhere only another cl-lsp is asked so."""

    snippets: bool = setting(True, workspace=True)
    """Send pieces of the workspace's other files that the cursor may need: see
    [context.md](context.md)."""

    snippet_characters: int = setting(2400, workspace=True, least=0, most=20_000)
    """Longest they may be in all; never more than half of what is sent before the cursor."""

    popup: bool | None = setting(None, workspace=True)
    """Offer `textDocument/completion` too. Not set: only to clients without inline completion."""


@dataclass(frozen=True)
class Config:
    engine: EngineConfig = EngineConfig()
    chat: ChatConfig = ChatConfig()
    completion: CompletionConfig = CompletionConfig()

    @property
    def chat_engine(self) -> EngineConfig:
        """What chats are asked of."""
        own, shared = self.chat, self.engine
        if own.endpoint is not None:
            return replace(shared, endpoint=own.endpoint, api_key=own.api_key, model=own.model)
        return replace(shared, model=own.model or shared.model)


SECTIONS: dict[str, type] = {f.name: type(f.default) for f in fields(Config)}


@dataclass(frozen=True)
class Source:
    """Settings from one place: `{section: {key: value}}`, keys in snake_case or camelCase."""

    name: str  # as people are told
    values: Any
    workspace: bool = False


def read_config(
    editor: Any, environment: Mapping[str, str], workspaces: list[Path]
) -> tuple[Config, list[str]]:
    """The configuration, and one message for each setting that is unknown, wrong or not allowed."""
    sources, problems = [], []
    for path in (user_file(), *(folder / FILE for folder in workspaces)):
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            sources.append(Source(str(path), values, workspace=path != user_file()))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            problems.append(f"{path}: {error}; it is ignored")
    sources += [
        Source("the environment", _of_environment(environment)),
        Source("the editor", editor),
    ]
    config = Config()
    for source in sources:
        config, found = merge(config, source)
        problems += found
    return config, problems


def user_file() -> Path:
    return platformdirs.user_config_path("cl-lsp") / FILE


def merge(config: Config, source: Source) -> tuple[Config, list[str]]:
    """What `source` says, over `config`."""
    problems: list[str] = []
    if source.values is None:
        return config, problems
    if not isinstance(source.values, dict):
        return config, [f"{source.name}: settings must be an object; they are ignored"]
    for section, values in source.values.items():
        if section not in SECTIONS:
            known = ", ".join(SECTIONS)
            problems.append(f"{source.name}: unknown setting {section!r}; known sections: {known}")
        elif not isinstance(values, dict):
            problems.append(f"{source.name}: {section} must hold settings")
        else:
            part = getattr(config, section)
            good, found = _checked(section, part, values, source)
            problems += found
            config = replace(config, **{section: replace(part, **good)})
    return config, problems


def _checked(
    section: str, part: Any, values: dict[str, Any], source: Source
) -> tuple[dict[str, Any], list[str]]:
    known = {f.name: f for f in fields(part)}
    hints = get_type_hints(type(part))
    good: dict[str, Any] = {}
    problems: list[str] = []
    for given, value in values.items():
        name = _snake(given)
        where = f"{source.name}: {section}.{given}"
        if name not in known:
            problems.append(f"{where} is unknown; known: {', '.join(map(camel, known))}")
        elif source.workspace and not known[name].metadata["workspace"]:
            problems.append(f"{where}: a workspace's file may not set this; it is ignored")
        elif name == "endpoint" and (wrong := _no_endpoint(value)):
            problems.append(f"{where}: {wrong}; it is ignored")
        elif problem := _problem(hints[name], known[name].metadata, value):
            problems.append(f"{where} {problem}; using {_shown(name, getattr(part, name))}")
        else:
            good[name] = _settled(name, value)
    return good, problems


def _problem(hint: Any, limits: Mapping[str, Any], value: object) -> str | None:
    """What is wrong with a value."""
    options = get_args(hint) if get_origin(hint) in (types.UnionType,) else (hint,)
    if value is None and type(None) in options:
        return None
    kind = options[0]
    if get_origin(kind) is Literal:
        choices = ", ".join(get_args(kind))
        return None if value in get_args(kind) else f"must be one of {choices}"
    if kind is str:
        return None if isinstance(value, str) and value else "must be a text"
    if kind is bool:
        return None if isinstance(value, bool) else "must be true or false"
    wanted = "a whole number" if kind is int else "a number"
    allowed = int if kind is int else (int, float)
    least, most = limits["least"], limits["most"]
    within = f" from {least} to {most}" if most is not None else f" of at least {least}"
    if not isinstance(value, allowed) or isinstance(value, bool):
        return f"must be {wanted}{within}"
    if not least <= value <= (float("inf") if most is None else most) or value == float("inf"):
        return f"must be {wanted}{within}"
    return None


def _no_endpoint(value: object) -> str | None:
    """Why a text is none."""
    if isinstance(value, str) and value:
        try:
            Address.of(value)
        except ClLspError as error:
            return str(error)
    return None


def _settled(name: str, value: Any) -> Any:
    """Paths as the daemon, which may run elsewhere, will know them."""
    if name == "model" and isinstance(value, str):
        return model_name(value)
    if name == "chat_template" and value is not None:
        return str(Path(value).expanduser().absolute())
    return value


def model_name(given: str) -> str:
    """A directory by its absolute path: the daemon may run elsewhere, and others may ask too."""
    path = Path(given).expanduser()
    return str(path.resolve()) if path.is_dir() else given


def _of_environment(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """CL_LSP_SECTION_KEY, the key with or without underscores; unknown ones, too, to be told of."""
    found: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for section, part in SECTIONS.items():
        hints = get_type_hints(part)
        spelled = {name.replace("_", ""): name for name in hints}
        beginning = f"CL_LSP_{section.upper()}_"
        for variable, text in environment.items():
            if variable.startswith(beginning):
                given = variable.removeprefix(beginning).lower()
                name = spelled.get(given.replace("_", ""), given)
                is_text = str in (hint := hints.get(name), *get_args(hint))
                found[section][name] = text if is_text else _parsed(text)
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _shown(name: str, value: Any) -> str:
    return "the one from before" if name == "api_key" and value else json.dumps(value)


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
