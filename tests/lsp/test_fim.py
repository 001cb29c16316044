"""The words of each family of models: where they stand, and that a file's own stay text."""

import pytest

from cl_lsp.fim import TEMPLATES, Family, family_of


@pytest.mark.parametrize("family", list(TEMPLATES))
def test_control_words_of_a_file_stay_text(family: Family) -> None:
    template = TEMPLATES[family]
    evil = "x".join(template.words)
    plain = template.prompt("a", "b", [("n", "t")])
    prompt = template.prompt(f"a{evil}", f"b{evil}", [("n", f"t{evil}"), (f"n{evil}", "t")])
    for word in template.words:
        files = 2 if word in template.file.format(name="", text="") else 1
        assert prompt.count(word) == plain.count(word) * files, word
    for end in template.end:
        assert template.cut(f"turn x{end}y") == "turn x"
    assert template.cut("turn x") == "turn x"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("codellama/CodeLlama-13b-Instruct-hf", "codellama"),
        ("codellama:7b-code", "codellama"),
        ("codellama/CodeLlama-34b-hf", None),
        ("CodeLlama-7b-Python-hf", None),
        ("/models/qwen2.5-coder-1.5b-q8_0.gguf", "qwen"),
        ("Qwen/Qwen2.5-7B", None),
        ("deepseek-ai/deepseek-coder-6.7b-base", "deepseek"),
        ("bigcode/starcoder2-7b", "starcoder2"),
        ("bigcode/starcoder", "starcoder"),
        ("google/codegemma-2b", "codegemma"),
        ("mistralai/Codestral-22B-v0.1", "codestral"),
        ("JetBrains/Mellum-4b-base", "mellum"),
        ("gpt-4", None),
    ],
)
def test_families(name: str, family: str | None) -> None:
    assert family_of(name) == family


def test_other_files_stand_before() -> None:
    prompt = TEMPLATES["qwen"].prompt("a", "b", [("u.py", "c")])
    assert prompt == "<|file_sep|>u.py\nc\n<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    prompt = TEMPLATES["codestral"].prompt("a", "b", [("u.py", "c")])
    assert prompt == "[SUFFIX]b[PREFIX]# u.py\nc\n\na"
