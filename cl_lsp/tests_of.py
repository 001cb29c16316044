"""Where the tests of a file go, as its language has it."""

from pathlib import Path

NAMES = {
    "python": ("test_{stem}.py", ("tests", "test")),
    "javascript": ("{stem}.test{suffix}", ()),
    "javascriptreact": ("{stem}.test{suffix}", ()),
    "typescript": ("{stem}.test{suffix}", ()),
    "typescriptreact": ("{stem}.test{suffix}", ()),
    "java": ("{stem}Test.java", ()),
    "kotlin": ("{stem}Test.kt", ()),
    "csharp": ("{stem}Tests.cs", ()),
    "php": ("{stem}Test.php", ("tests",)),
    "go": ("{stem}_test.go", ()),
    "c": ("{stem}_test{suffix}", ("tests", "test")),
    "cpp": ("{stem}_test{suffix}", ("tests", "test")),
    "ruby": ("{stem}_spec.rb", ("spec",)),
    "shellscript": ("{stem}_test{suffix}", ("tests", "test")),
}


def place_for(path: Path, language: str) -> Path | None:
    """The file for the tests of `path`; None if its language keeps them elsewhere, or nobody knows.

    In a folder for tests beside the file, if there is one; for Java's `src/main`, in `src/test`.
    """
    if language not in NAMES:
        return None
    form, folders = NAMES[language]
    name = form.format(stem=path.stem, suffix=_source(path.suffix))
    parts = path.parent.parts
    if language in ("java", "kotlin") and ("src", "main") in zip(parts, parts[1:], strict=False):
        at = next(n for n in range(len(parts)) if parts[n : n + 2] == ("src", "main"))
        return Path(*parts[: at + 1], "test", *parts[at + 2 :], name)
    folder = next((path.parent / f for f in folders if (path.parent / f).is_dir()), path.parent)
    return folder / name


def _source(suffix: str) -> str:
    return {".h": ".c", ".hpp": ".cpp", ".hh": ".cc"}.get(suffix, suffix)
