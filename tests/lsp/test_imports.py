"""Imports resolve to the workspace's files."""

import json

import pytest

from cl_lsp.imports import imported
from cl_lsp.index import Index
from cl_lsp.records import make_record


def index_with(files: dict[str, str]) -> Index:
    index = Index()
    for path, text in files.items():
        record = make_record(path, text)
        assert record is not None
        index.put(record)
    return index


PYTHON = """
    app/__init__.py app/core.py app/sub/__init__.py app/sub/deep.py app/sub/near.py src/lib/util.py
    tests/util.py other/app/core.py typed.pyi
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from .near import f", ["app/sub/near.py"]),
        ("from . import near, deep", ["app/sub/near.py", "app/sub/deep.py", "app/sub/__init__.py"]),
        ("from ..core import (\n    A,\n    B,\n)", ["app/core.py"]),
        ("from .. import core", ["app/core.py", "app/__init__.py"]),
        ("import app.core as c, lib.util", ["app/core.py", "src/lib/util.py"]),
        ("from lib.util import x  # why", ["src/lib/util.py"]),
        ("if x:\n    from app.sub import deep", ["app/sub/deep.py", "app/sub/__init__.py"]),
        ("import typed", ["typed.pyi"]),
        ("import os, sys\nfrom json import loads\nfrom ....x import y", []),
        ("important = 1\nfrom_x = 2", []),
    ],
)
def test_python(text: str, found: list[str]) -> None:
    index = index_with(dict.fromkeys(PYTHON.split(), "x = 1\n"))
    assert imported(index, "app/sub/me.py", text) == found


SCRIPTS = """
    web/a.ts web/b.tsx web/lib/index.ts web/types.d.ts web/old.js shared/src/x.ts util.mjs
    shared/src/y/index.tsx web/base/z.ts
"""
CONFIG = """{
  // paths, as TypeScript reads them
  "compilerOptions": {
    "paths": {"@shared/*": ["../shared/src/*"], "exact": ["./a.ts"], "*": ["./nowhere/*"],},
  }
}"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import { A } from './a'", ["web/a.ts"]),
        ('import B from "./b.jsx"; export * from "./a.js";', ["web/b.tsx", "web/a.ts"]),
        (
            "const x = require('./old'), y = await import('./lib')",
            ["web/old.js", "web/lib/index.ts"],
        ),
        ("import type { T } from './types';\nimport '../util.mjs'", ["web/types.d.ts", "util.mjs"]),
        (
            "import {\n  x,\n} from '@shared/x'\nimport y from '@shared/y'",
            ["shared/src/x.ts", "shared/src/y/index.tsx"],
        ),
        ("import e from 'exact'", ["web/a.ts"]),
        ("import React from 'react'; import './missing'; import '../../../etc'", []),
    ],
)
def test_typescript(text: str, found: list[str]) -> None:
    index = index_with(
        dict.fromkeys(SCRIPTS.split(), "let x = 1\n") | {"web/tsconfig.json": CONFIG}
    )
    assert imported(index, "web/me.ts", text) == found


def test_a_tsconfig_that_extends_another() -> None:
    files = {
        "web/base/z.ts": "let x = 1\n",
        "tsconfig.base.json": json.dumps({"compilerOptions": {"baseUrl": "web/base"}}),
        "web/jsconfig.json": json.dumps({"extends": "../tsconfig.base"}),
    }
    assert imported(index_with(files), "web/deep/me.js", "import z from 'z'") == ["web/base/z.ts"]


@pytest.mark.parametrize(
    "config", ["", "[]", '{"compilerOptions": []}', '{"extends": "./tsconfig.json"}']
)
def test_a_bad_tsconfig_resolves_nothing(config: str) -> None:
    index = index_with({"a.ts": "let x = 1\n", "tsconfig.json": config})
    assert imported(index, "me.ts", "import a from 'a'; import b from './a'") == ["a.ts"]


def test_other_languages() -> None:
    paths = ["src/a.h", "include/b.hpp", "com/x/C.java"]
    index = index_with(dict.fromkeys(paths, "int x;\n"))
    text = '#include "a.h"\n#include <b.hpp>\n#include <vector>\n'
    assert imported(index, "src/me.cpp", text) == ["src/a.h", "include/b.hpp"]
    assert imported(index, "com/y/Me.java", "import com.x.C;\nimport java.util.List;\n") == [
        "com/x/C.java"
    ]
    assert imported(index, "me.rs", text) == []
