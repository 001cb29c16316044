"""Prints settings.md: `python docs/settings.py > docs/settings.md`."""

import json

from cl_lsp.manual import manual

HEAD = """\
# Settings

From weak to strong: defaults, the user's `cl-lsp.toml` (in `~/.config/cl-lsp/`, or below
`$XDG_CONFIG_HOME`), a `cl-lsp.toml` in the workspace's root, the environment
(`CL_LSP_ENGINE_MODEL` for `engine.model`), the editor's `initializationOptions`. What is unknown or
wrong is said once and ignored; `cl-lsp settings` prints what applies on the command line, without
the workspace's.

```toml
[engine]
model = "7b"            # max_tokens or maxTokens: both spellings do
[completion]
max_tokens = 64
```
```lua
init_options = { engine = { model = '7b' }, completion = { maxTokens = 64 } }
```
A repository's own file may set only what is marked ✓: it can neither send code anywhere, nor name
files to read, nor take memory.

| setting | type | default | ✓ | |
| --- | --- | --- | --- | --- |
"""


def main() -> None:
    print(HEAD, end="")
    for entry in manual():
        kind = entry.type.replace(" or null", "")
        default = "" if entry.default is None else f"`{json.dumps(entry.default)}`"
        mark = "✓" if entry.workspace else ""
        print(f"| `{entry.key}` | {kind} | {default} | {mark} | {entry.text} |")


if __name__ == "__main__":
    main()
