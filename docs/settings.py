"""Prints settings.md: `python docs/settings.py > docs/settings.md`."""

import json

from cl_lsp.manual import manual

HEAD = """\
# Settings

From weak to strong: defaults, the user's `cl-lsp.toml` (in `~/.config/cl-lsp/`, or below
`$XDG_CONFIG_HOME`), the `cl-lsp.toml` of the workspace folder and of those above it up to its
repository's root (key by key the nearest wins), the user's tables for a path above, the environment
(`CL_LSP_ENGINE_MODEL` for `engine.model`; lists as `a,b`), the editor's `initializationOptions`,
and what it tells later. What is unknown or wrong is said once and ignored; `cl-lsp settings` prints
what applies everywhere, without the workspace's and the tables'.

```toml
[engine]
model = "7b"            # max_tokens or maxTokens: both spellings do
[completion]
max_tokens = 64
```
```lua
init_options = { engine = { model = '7b' }, completion = { maxTokens = 64 } }
```
A repository's own files may set only what is marked ✓: they can neither send code anywhere, nor
name files to read, nor take memory. What is marked − they can only make stricter: turn it off, or
add to the list. A model or a server for one project is the user's to choose, in the user's own file
(or in the editor's settings of that folder):

```toml
[workspace."~/work/secret-project"]
engine.model = "7b"
privacy.ignored_globs = ["data/"]
```
Such a table counts for all files below its path, whatever folder is open, on the command line, too
(for `cl-lsp complete FILE` the workspace is FILE's repository or, without one, the current folder);
of several the closest path wins. Patterns are relative to the folder of their file or table, or to
the workspace's root. What has another engine is in no prompt of the others.

**Changes count at once**, but for `completion.popup`. The files are looked at when somebody types,
at most every two seconds. Settings of the editor come from `workspace/configuration`, section
`cl-lsp`, for each folder, if the client can; otherwise from `workspace/didChangeConfiguration`,
whole (`{"cl-lsp": {…}}`) or bare; [nothing is sent](trouble.md#the-reasons) before an editor that
was asked has told them. Null there is no value. A document has the settings of the
innermost workspace folder that it is in; one that is in none has the user's and the editor's.

| setting | type | default | ✓ − | |
| --- | --- | --- | --- | --- |
"""


def main() -> None:
    print(HEAD, end="")
    for entry in manual():
        kind = entry.type.replace(" or null", "")
        default = "" if entry.default in (None, ()) else f"`{json.dumps(entry.default)}`"
        mark = {False: "", True: "✓"}.get(entry.workspace, "−")
        print(f"| `{entry.key}` | {kind} | {default} | {mark} | {entry.text} |")


if __name__ == "__main__":
    main()
