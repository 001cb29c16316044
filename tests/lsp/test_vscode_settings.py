"""VS Code's settings are the server's own, with their descriptions."""

import json
import runpy
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "editors/vscode"


def test_the_manifest_has_the_settings_of_the_server() -> None:
    manifest = json.loads((FOLDER / "package.json").read_text())
    made = runpy.run_path(str(FOLDER / "settings.py"))["configuration"]()
    # As JSON has them: there is no tuple.
    assert manifest["contributes"]["configuration"] == json.loads(json.dumps(made))


def test_a_repository_can_neither_send_code_anywhere_nor_lift_what_is_private() -> None:
    manifest = json.loads((FOLDER / "package.json").read_text())
    groups = manifest["contributes"]["configuration"]
    scopes = {key: one["scope"] for group in groups for key, one in group["properties"].items()}
    for key in ("engine.endpoint", "engine.model", "chat.endpoint", "privacy.completePrivate"):
        assert scopes[f"cl-lsp.{key}"] == "machine"
    assert scopes["cl-lsp.completion.maxTokens"] == "resource"
