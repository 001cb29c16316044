"""Settings from their places, merged from weak to strong; what is wrong keeps the weaker value.

Defaults, the user's `cl-lsp.toml`, the repository's from its root down to the workspace folder
(keys that do no harm), the user's tables `[workspace."/a/path"]`, `CL_LSP_SECTION_KEY` of the
environment, the editor.
"""

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import platformdirs

from .check import problem_of
from .config import SECTIONS, Config
from .errors import in_words
from .git import repository_of

FILE = "cl-lsp.toml"
OWN = {"trace", "server"}  # sections of the editor's settings that are its client's business
TABLES = "workspace"  # of the user's file, with a table for each path


@dataclass(frozen=True)
class Problem:
    """What is wrong in one place, as people are told."""

    source: str
    text: str

    def __str__(self) -> str:
        return f"{self.source}: {self.text}"


@dataclass(frozen=True)
class Source:
    """Settings from one place: `{section: {key: value}}`, keys in snake_case or camelCase.

    `workspace`: a repository's own; `editor`: null is no value there, and names are in camelCase;
    `tables`: it may have some for paths, which were taken out.
    """

    name: str  # as people are told
    values: Any
    workspace: bool = False
    editor: bool = False
    tables: bool = False

    @property
    def holder(self) -> str:
        """What holds a section, in words."""
        return "an object" if self.editor else "a table"

    def spelled(self, name: str) -> str:
        return camel(name) if self.editor else name


def read_config(
    editor: Any, environment: Mapping[str, str], workspaces: Iterable[Path]
) -> tuple[Config, list[Problem]]:
    """The configuration, and a problem for each setting that is unknown, wrong or not allowed."""
    files = Files()
    sources = files.of_user()
    for folder in workspaces:
        sources += [*files.of_workspace(folder), *files.of_tables(folder)]
    config, problems = merged([*sources, *outside(environment, editor)])
    return config, files.problems + problems


class Files:
    """The files that have been read, and what was no TOML in them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.tables: dict[Path, Source] = {}  # of the user's file, by the paths that they are for

    def of_user(self) -> list[Source]:
        values = self._read(user_file())
        tables = values.pop(TABLES, {}) if values else {}
        if isinstance(tables, dict):
            for name, table in tables.items():
                source = Source(f'{user_file()} [{TABLES}."{name}"]', table)
                places = _places(name)
                self.tables |= dict.fromkeys(places, source)
                if not places:
                    text = "the path must begin with / or ~; the table is ignored"
                    self.problems.append(Problem(source.name, text))
        else:
            text = f'{TABLES} must hold tables such as [{TABLES}."/path/of/a/project"]'
            self.problems.append(Problem(str(user_file()), text))
        return [] if values is None else [Source(str(user_file()), values, tables=True)]

    def of_workspace(self, folder: Path) -> list[Source]:
        """Its repository's own, the nearest last."""
        paths = [folder / FILE for folder in folders_of(folder)]
        read = ((path, self._read(path)) for path in paths if path != user_file())
        return [Source(str(path), own, workspace=True) for path, own in read if own is not None]

    def of_tables(self, path: Path) -> list[Source]:
        """What the user's file says of a path and of those above it; after `of_user`."""
        return [self.tables[p] for p in (*reversed(path.parents), path) if p in self.tables]

    def _read(self, path: Path) -> dict[str, Any] | None:
        """None if there is none, or none that can be read."""
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, RecursionError) as error:
            self.problems.append(Problem(str(path), f"{in_words(error)}; the file is ignored"))
            return None


def folders_of(workspace: Path) -> list[Path]:
    """Where a workspace folder's settings may lie: from the root of the repository that it is in
    down to it."""
    folders = [workspace, *workspace.parents]
    top = repository_of(workspace) or workspace
    return folders[folders.index(top) :: -1]


def outside(environment: Mapping[str, str], *editor: Any) -> list[Source]:
    """The stronger places: the environment, and what the editor has told, the weakest first."""
    sources = [Source("the environment", _of_environment(environment))]
    return sources + [Source("the editor", told, editor=True) for told in editor]


def user_file() -> Path:
    return platformdirs.user_config_path("cl-lsp") / FILE


def merged(sources: Iterable[Source]) -> tuple[Config, list[Problem]]:
    config, problems = Config(), list[Problem]()
    for source in sources:
        config, found = merge(config, source)
        problems += found
    return config, problems


def merge(config: Config, source: Source) -> tuple[Config, list[Problem]]:
    """What `source` says, over `config`."""
    problems: list[Problem] = []

    def say(text: str) -> None:
        problems.append(Problem(source.name, text))

    if source.values is None:
        return config, problems
    if not isinstance(source.values, dict):
        say("settings must be an object; they are ignored")
        return config, problems
    for section, values in source.values.items():
        if source.editor and (section in OWN or values is None):
            continue
        if section not in SECTIONS:
            known = [*SECTIONS, *([TABLES] if source.tables else [])]
            say(f"{section} is unknown; known sections: {', '.join(known)}")
        elif not isinstance(values, dict):
            say(f"{section} must be {source.holder} of settings; it is ignored")
        else:
            part = getattr(config, section)
            good = _checked(section, part, values, source, say)
            config = replace(config, **{section: replace(part, **good)})
    return config, problems


def _checked(
    section: str, part: Any, values: dict[str, Any], source: Source, say: Callable[[str], None]
) -> dict[str, Any]:
    """The values that count, by the names of their fields."""
    known = {f.name: f for f in fields(part)}
    hints = get_type_hints(type(part))
    good, spellings = dict[str, Any](), dict[str, str]()
    for given, value in values.items():
        name = _snake(given)
        where = f"{section}.{given}"
        if source.editor and value is None:
            continue  # as VS Code says of what is not set
        if name not in known:
            say(f"{where} is unknown; known: {', '.join(map(source.spelled, known))}")
            continue
        if (first := spellings.setdefault(name, given)) != given:
            say(f"{where} is {section}.{first}, which is there, too; it is ignored")
            continue
        limits, before = known[name].metadata, getattr(part, name)
        if source.workspace and not limits["workspace"]:
            say(f"{where}: a workspace's file may not set this; it is ignored")
        elif problem := problem_of(name, hints[name], limits, value):
            say(f"{where} {problem}; {_kept(name, before)}")
        elif source.workspace and limits["workspace"] == "stricter" and value is True:
            say(f"{where}: a workspace's file can only turn this off; it is ignored")
        elif limits["workspace"] == "stricter" and isinstance(before, tuple):
            good[name] = tuple(dict.fromkeys([*before, *value]))
        else:
            good[name] = _settled(name, value)
    return good


def _settled(name: str, value: Any) -> Any:
    """Paths as the daemon, which may run elsewhere, will know them."""
    if isinstance(value, list):
        return tuple(value)
    if name == "model" and isinstance(value, str):
        return model_name(value)
    if name == "chat_template" and value is not None:
        return str(_home(value).absolute())
    return value


def model_name(given: str) -> str:
    """A directory by its absolute path: the daemon may run elsewhere, and others may ask too."""
    path = _home(given)
    return str(path.resolve()) if os.path.isdir(path) else given


def _home(path: str) -> Path:
    """`~` as the user's; Path's own raises where there is no such user."""
    return Path(os.path.expanduser(path))


def _places(name: str) -> set[Path]:
    """A table's path as it is written, and without links: documents may have either."""
    path = _home(name)
    if not path.is_absolute() or "\0" in name:
        return set()
    return {path, Path(os.path.realpath(path))}


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
                found[section][name] = _parsed(text, hints.get(name))
    return found


def _parsed(text: str, hint: Any) -> Any:
    if str in (hint, *get_args(hint)) and hint != tuple[str, ...]:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text.split(",") if hint == tuple[str, ...] else text


def _kept(name: str, value: Any) -> str:
    if value is None:
        return "it stays unset"
    return f"using {'the one from before' if name == 'api_key' else json.dumps(value)}"


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
