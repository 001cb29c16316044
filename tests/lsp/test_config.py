"""Settings: where they come from, which is stronger, what is wrong, what a repository may set."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cl_lsp.config import ChatConfig, CompletionConfig, Config, EngineConfig
from cl_lsp.errors import ClLspError
from cl_lsp.manual import manual
from cl_lsp.remote import check_endpoint
from cl_lsp.settings import read_config, user_file
from cl_lsp.wire import Address
from tests.conftest import cl_lsp


def read(editor: Any = None, environment: dict[str, str] | None = None, *folders: Path) -> Any:
    config, problems = read_config(editor, environment or {}, folders)
    return config, [str(problem) for problem in problems]


@pytest.fixture
def user(home: Path) -> Path:
    user_file().parent.mkdir(parents=True)
    return user_file()


def test_later_places_are_stronger(user: Path, tmp_path: Path) -> None:
    user.write_text('[completion]\nmax_tokens = 10\ntime_budget_ms = 10\n[engine]\nmodel = "u"\n')
    (tmp_path / "cl-lsp.toml").write_text("[completion]\nmaxTokens = 20\n[chat]\nmax_tokens = 20\n")
    config, problems = read(None, {}, tmp_path)
    assert (config.completion, problems) == (CompletionConfig(20, 10), [])
    environment = {"CL_LSP_COMPLETION_MAX_TOKENS": "30", "CL_LSP_ENGINE_MODEL": "7b"}
    config, problems = read(None, environment, tmp_path)
    assert (config.completion.max_tokens, config.engine.model, problems) == (30, "7b", [])
    config, problems = read({"completion": {"maxTokens": 40}}, environment, tmp_path)
    assert (config.completion.max_tokens, problems) == (40, [])
    assert config.chat == ChatConfig(max_tokens=20)


@pytest.mark.parametrize("entry", [e for e in manual() if not e.workspace])
def test_a_repository_can_send_no_code_anywhere(home: Path, tmp_path: Path, entry: Any) -> None:
    section, key = entry.key.split(".")
    (tmp_path / "cl-lsp.toml").write_text(f'[{section}]\n{key} = "http://evil.example"\n')
    config, [problem] = read(None, {}, tmp_path)
    assert config == Config()
    assert entry.key in problem and "a workspace's file may not set this" in problem
    assert "evil" not in problem.replace(str(tmp_path), "")


def test_all_spellings_of_the_environment_count_and_others_are_said(home: Path) -> None:
    environment = {
        "CL_LSP_COMPLETION_MAXTOKENS": "5",
        "CL_LSP_ENGINE_API_KEY": "1",  # a text, though it could be a number
        "CL_LSP_ENGINE_FOO": "1",
        "CL_LSP_API_KEY": "of the server's own",
        "CL_LSP_TCP": "1",
    }
    config, [problem] = read(None, environment)
    assert (config.completion.max_tokens, config.engine.api_key) == (5, "1")
    assert problem.startswith("the environment: engine.foo is unknown")


def test_what_a_repository_may_set_is_harmless() -> None:
    allowed = {entry.key: entry.workspace for entry in manual() if entry.workspace}
    free = ["chat.maxTokens", *(f"completion.{key}" for key in (
        "maxTokens", "timeBudgetMs", "popup", "prefetch", "snippets", "snippetCharacters",
        "inComments", "inStrings", "candidates", "warming"))]  # fmt: skip
    stricter = ["completion.enabled", "completion.disabledLanguages", "completion.disabledGlobs"]
    stricter += ["privacy.ignoredGlobs"]
    assert allowed == dict.fromkeys(free, True) | dict.fromkeys(stricter, "stricter")


def test_a_repository_can_only_make_it_stricter(user: Path, tmp_path: Path) -> None:
    user.write_text("[completion]\nenabled = false\n[privacy]\nignored_globs = ['a']\n")
    (tmp_path / "cl-lsp.toml").write_text(
        "[completion]\nenabled = true\ndisabled_languages = ['text']\n"
        "[privacy]\nignored_globs = ['b']\n"
    )
    config, [problem] = read({"privacy": {"ignoredGlobs": ["c", "a"]}}, {}, tmp_path)
    assert problem.endswith(
        "completion.enabled: a workspace's file can only turn this off; it is ignored"
    )
    assert not config.completion.enabled
    assert config.completion.disabled_languages == ("text",)
    assert config.privacy.ignored_globs == ("a", "b", "c")


def test_the_user_may_set_anything_for_a_project(user: Path, tmp_path: Path) -> None:
    project = tmp_path / "a" / "b"
    project.mkdir(parents=True)
    user.write_text(
        f"[engine]\nmodel = '7b'\n[workspace.'{project}']\nengine.model = 'inner'\n"
        f"[workspace.'{tmp_path}']\nengine.model = 'outer'\nchat.max_tokens = 9\n"
    )
    (project / "cl-lsp.toml").write_text("[chat]\nmax_tokens = 8\n")
    assert read(None, {}, tmp_path / "a")[0].engine.model == "outer"
    config, problems = read(None, {}, project)
    assert (config.engine.model, config.chat.max_tokens, problems) == ("inner", 9, [])
    assert read()[0].engine.model == "7b"


def test_null_in_the_editor_is_what_is_not_set(user: Path) -> None:
    user.write_text("[engine]\nmodel = '7b'\n")
    editor = {"engine": {"model": None, "kernels": None}, "chat": None, "trace": {"server": "off"}}
    config, problems = read(editor)
    assert (config.engine, problems) == (EngineConfig(model="7b"), [])


def test_keys_are_said_as_the_place_spells_them(user: Path) -> None:
    user.write_text("[completion]\nmax_token = 1\n")
    _, [file, editor] = read({"completion": {"maxToken": 1}})
    assert "known: max_tokens, time_budget_ms" in file
    assert "known: maxTokens, timeBudgetMs" in editor


def test_lists_of_the_environment(home: Path) -> None:
    for text in ('["a", "b"]', "a,b"):
        config, problems = read(None, {"CL_LSP_COMPLETION_LANGUAGES": text})
        assert (config.completion.languages, problems) == (("a", "b"), [])


@pytest.mark.parametrize(
    ("editor", "problem"),
    [
        ([1], "settings must be an object"),
        ("a", "settings must be an object"),
        ({"x": 1}, "x is unknown; known sections: engine"),
        ({"engine": 1}, "engine must be an object of settings; it is ignored"),
        ({"engine": {"x": 1}}, "engine.x is unknown; known: model, endpoint, apiKey"),
        ({"engine": {"model": ""}}, "engine.model must be a text"),
        (
            {"engine": {"endpoint": "host:8000"}},
            "must be a URL such as http://host:8000/v1, or unix:/path/of.sock; it stays unset",
        ),
        ({"engine": {"kernels": "cuda"}}, "must be one of auto, torch"),
        ({"completion": {"languages": "python"}}, "must be a list of texts"),
        ({"completion": {"disabledGlobs": [1]}}, "must be a list of texts"),
        ({"completion": {"disabledGlobs": ["!"]}}, "no .gitignore could have"),
        ({"engine": {"fim": "gpt"}}, "must be one of auto, none, codellama"),
        ({"engine": {"context": 0}}, "a whole number of at least 1"),
        ({"engine": {"context": 1.5}}, "a whole number"),
        ({"engine": {"kvMemory": 0}}, "a number of at least"),
        ({"engine": {"kvMemory": "1"}}, "a number"),
        ({"engine": {"idleExitMinutes": float("inf")}}, "a number"),
        ({"engine": {"idleExitMinutes": float("nan")}}, "a number"),
        ({"completion": {"maxTokens": True}}, "a whole number from 1 to 512"),
        ({"completion": {"maxTokens": 513}}, "a whole number from 1 to 512"),
        ({"completion": {"timeBudgetMs": -1}}, "a whole number"),
        ({"completion": {"popup": 1}}, "must be true or false"),
    ],
)
def test_what_is_wrong_is_said_and_ignored(home: Path, editor: Any, problem: str) -> None:
    config, [said] = read(editor)
    assert config == Config()
    assert said.startswith("the editor: ") and problem in said


def test_the_rest_of_a_wrong_file_counts(user: Path, tmp_path: Path) -> None:
    user.write_text("[engine]\ncontext = -1\nkernels = 'torch'\n")
    (tmp_path / "cl-lsp.toml").write_text("[completion\n")
    config, [first, second] = read(None, {}, tmp_path)
    assert config.engine == EngineConfig(kernels="torch")
    assert str(tmp_path) in first and "the file is ignored" in first
    assert f"{user}: engine.context must be" in second


def test_a_table_whose_path_is_none_is_said(user: Path) -> None:
    for name in ("a/project", "~nobody-of-that-name/x"):
        user.write_text(f"[workspace.'{name}']\nengine.model = '7b'\n")
        place = f'{user} [workspace."{name}"]'
        assert read()[1] == [f"{place}: the path must begin with / or ~; the table is ignored"]


def test_the_section_of_tables_is_known_where_there_may_be_one(user: Path, tmp_path: Path) -> None:
    user.write_text("[workspaces]\n")
    (tmp_path / "cl-lsp.toml").write_text("[workspaces]\n")
    _, [own, repository] = read(None, {}, tmp_path)
    assert own.endswith("known sections: engine, chat, completion, privacy, workspace")
    assert repository.endswith("known sections: engine, chat, completion, privacy")


def test_of_two_spellings_in_one_place_the_first_counts(user: Path) -> None:
    user.write_text('[completion]\nmax_tokens = "many"\nmaxTokens = 5\n')
    config, [wrong, twice] = read()
    assert config.completion.max_tokens == 48 and wrong.endswith("; using 48")
    assert "completion.maxTokens is completion.max_tokens, which is there, too" in twice
    user.write_text("[completion]\nmaxTokens = 5\nmax_tokens = 6\n")
    config, [twice] = read()
    assert config.completion.max_tokens == 5 and "max_tokens is completion.maxTokens" in twice


def test_a_file_that_cannot_be_read_is_said_in_words(user: Path) -> None:
    user.write_bytes(b'a = "\xff"')
    assert read()[1] == [f"{user}: it is not UTF-8; the file is ignored"]
    user.unlink()
    user.mkdir()
    assert read()[1] == [f"{user}: Is a directory; the file is ignored"]


def test_chats_are_asked_of_the_same_engine_unless_told_otherwise() -> None:
    config, _ = read({"engine": {"endpoint": "http://a", "apiKey": "k", "model": "m"}})
    assert config.chat_engine == config.engine
    config, _ = read({"engine": {"model": "7b"}, "chat": {"model": "7b-instruct"}})
    assert config.chat_engine == EngineConfig(model="7b-instruct")
    config, _ = read({"engine": {"apiKey": "k", "model": "m"}, "chat": {"endpoint": "http://b"}})
    assert config.chat_engine == EngineConfig(endpoint="http://b")  # not the other one's key


@pytest.mark.parametrize(
    ("endpoint", "address", "warned"),
    [
        ("http://localhost:1/v1/", Address(url="http://localhost:1"), False),
        ("http://[::1]:1", Address(url="http://[::1]:1"), False),
        ("https://host/base/v1", Address(url="https://host/base"), False),
        ("http://host:8000", Address(url="http://host:8000"), True),
        ("unix:/run/x.sock", Address(uds=Path("/run/x.sock")), False),
    ],
)
def test_endpoints(endpoint: str, address: Address, warned: bool) -> None:
    assert Address.of(endpoint) == address
    warning = check_endpoint(EngineConfig(endpoint=endpoint))
    assert (warning is not None and "unencrypted" in warning) is warned


@pytest.mark.parametrize(
    "endpoint", ["host:1", "ftp://host", "http://", "http://h:x", "http://h:0"]
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ClLspError, match="is no URL"):
        Address.of(endpoint)


def test_the_terminal_shows_settings_but_no_key(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.write_text('[engine]\nendpoint = "http://127.0.0.1:9"\napi_key = "s3cret"\nx = 1\n')
    monkeypatch.setenv("CL_LSP_COMPLETION_MAX_TOKENS", "many")
    done = cl_lsp("settings")
    assert 'engine.endpoint = "http://127.0.0.1:9"' in done.stdout
    assert "engine.x is unknown" in done.stderr
    assert "the environment: completion.max_tokens must be a whole number" in done.stderr
    assert "s3cret" not in done.stdout + done.stderr
    assert "s3cret" not in repr(Address.of("http://a", "s3cret"))


def test_the_manual_is_what_the_documentation_has() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(root / "docs" / "settings.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (root / "docs" / "settings.md").read_text() == done.stdout


@pytest.mark.parametrize("name", ["~nobody-of-that-name/x", "x" * 5000, "a\0b"])
def test_a_model_may_have_any_name(home: Path, name: str) -> None:
    config, problems = read({"engine": {"model": name, "chatTemplate": "~nobody-there/a"}})
    assert (config.engine.model, problems) == (name, [])
