"""What each command says where cl-lsp was installed without its engine."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from cl_lsp.daemon import default_socket
from tests.conftest import cl_lsp

ROOT = Path(__file__).parents[2]
HIDES = """
import sys

class Hides:
    @staticmethod
    def find_spec(name, path, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hides)
"""


@pytest.fixture
def bare(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Python is started lacks the libraries of the extra `engine`."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = extras["optional-dependencies"]["engine"]
    names = {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in wanted}
    assert {"torch", "tokenizers", "uvicorn"} <= names
    (tmp_path / "sitecustomize.py").write_text(HIDES.format(names=names))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    "command",
    [
        "models",
        "serve",
        "pull 7b",
        "export embedded there",
        "prompt --capability completion --prefix-file f",
        f"complete {ROOT / 'examples/inventory.py'} --line 28 --column 24 --no-snippets",
    ],
)
def test_it_is_said_in_one_line_with_what_to_do(command: str) -> None:
    done = cl_lsp(*command.split())
    assert (done.returncode, done.stdout) == (1, "")
    [line] = [line for line in done.stderr.splitlines() if "starting the engine" not in line]
    assert line.startswith("error: the engine is not installed (No module named '")
    assert "[engine]'" in line and "set engine.endpoint" in line
    assert not default_socket().exists()


@pytest.mark.usefixtures("bare")
def test_the_doctor_has_a_line_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    done = cl_lsp("doctor", "--json")
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1 and {"Python", "daemon", "editor"} <= set(found)
    assert "is not installed" in found["engine"]["said"] and "[engine]'" in found["engine"]["fix"]
    assert found["engine"]["state"] == "wrong"
    monkeypatch.setenv("CL_LSP_ENGINE_ENDPOINT", "http://127.0.0.1:9")
    found = {one["what"]: one for one in json.loads(cl_lsp("doctor", "--json").stdout)}
    assert found["engine"]["state"] == "note"  # it is not needed
