"""`cl-lsp prompt`: every capability from files, without weights, and what it refuses."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cl_engine.chat import chat_prompt
from cl_engine.errors import BrokenCheckpoint, InvalidRequest, UnknownModel, Unsupported
from cl_engine.prompt import completion_prompt, heal, infilling_prompt
from cl_engine.show_prompt import add_arguments, run

from tests.vocabularies import CODE, EMBEDDED, PLAIN, proto, tokenizer, tokenizer_json

CONTEXT = 256
PREFIX, SUFFIX = "def f(x):\r\n\tret", "\r\n  ☺ <EOT>\r"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi [INST]"}]


def make_model(folder: Path, vocab: int, step: bool = False) -> Path:
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(proto(vocab, step))
    config = {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "rope_theta": 1e6,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prefix").write_bytes(PREFIX.encode())
    Path("suffix").write_bytes(SUFFIX.encode())
    Path("messages").write_text(json.dumps(MESSAGES))
    make_model(tmp_path / "code", CODE)
    make_model(tmp_path / "plain", PLAIN)
    return tmp_path


def prompt(*args: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(args)) == 0


INFILL = ("--capability", "infilling", "--prefix-file", "prefix", "--suffix-file", "suffix")
COMPLETE = ("--capability", "completion", "--prefix-file", "prefix")
CHAT = ("--capability", "chat", "--messages", "messages")


@pytest.fixture
def shown(files: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def as_json(*args: str) -> dict[str, Any]:
        prompt(*args, "--json")
        return json.loads(capsys.readouterr().out)

    return as_json


def test_infilling_before_healing_and_what_healing_takes(shown: Any) -> None:
    own = tokenizer(CODE)
    for order in ("psm", "spm"):
        expected = infilling_prompt(own, PREFIX, SUFFIX, CONTEXT, order)
        healed = heal(own, expected)
        assert shown("--model", "code", *INFILL, "--order", order) == {
            "token_ids": expected.ids,
            "text": own.render(expected.ids),
            "healed": {"token_ids": healed.draft, "text": healed.required.decode()},
            "dropped_characters": 0,
        }
    default = infilling_prompt(own, PREFIX, SUFFIX, CONTEXT, "spm")
    answer = shown("--model", "code", *INFILL)
    assert answer["token_ids"] == default.ids
    assert answer["text"] == f"<s>▁<PRE>▁<SUF>{SUFFIX}▁<MID> {PREFIX}"
    assert answer["healed"]["token_ids"] == default.ids[-len(answer["healed"]["token_ids"]) :]


@pytest.mark.parametrize("capability", ["completion", "python"])
def test_completion_and_python_are_the_file_verbatim(shown: Any, capability: str) -> None:
    answer = shown("--model", "plain", "--capability", capability, "--prefix-file", "prefix")
    assert answer["token_ids"] == [1, *tokenizer(PLAIN).encode(PREFIX)]
    assert answer["text"] == f"<s> {PREFIX}"


def test_chat_in_each_format(shown: Any, files: Path) -> None:
    own = tokenizer(PLAIN)
    expected = chat_prompt(own, MESSAGES, CONTEXT)
    answer = shown("--model", "plain", *CHAT)
    assert answer["token_ids"] == expected.ids
    assert answer["healed"] == {"token_ids": [], "text": ""}
    assert answer["text"].endswith("Hi [INST] [/INST]")
    lmdeploys = chat_prompt(own, MESSAGES, CONTEXT, "lmdeploy")
    assert shown("--model", "plain", *CHAT, "--format", "lmdeploy")["token_ids"] == lmdeploys.ids
    make_model(files / "70b", CODE, step=True)
    source = chat_prompt(tokenizer(CODE, step=True), MESSAGES, CONTEXT, "source")
    assert shown("--model", "70b", *CHAT)["token_ids"] == source.ids


def test_a_tokenizer_json_and_metas_params_are_enough(shown: Any, files: Path) -> None:
    expected = shown("--model", "code", *INFILL)["token_ids"]
    (files / "code" / "tokenizer.model").unlink()
    written = json.dumps(tokenizer_json(proto(CODE), "metaspace"))
    (files / "code" / "tokenizer.json").write_text(written)
    assert shown("--model", "code", *INFILL)["token_ids"] == expected
    (files / "code" / "config.json").unlink()
    params = {"dim": 64, "n_layers": 2, "n_heads": 4, "vocab_size": -1, "rope_theta": 1e6}
    (files / "code" / "params.json").write_text(json.dumps(params))
    assert shown("--model", "code", *INFILL)["token_ids"] == expected


def test_the_embedded_model_is_the_default(shown: Any) -> None:
    assert shown(*COMPLETE)["token_ids"] == [1, *tokenizer(EMBEDDED).encode(PREFIX)]


def test_what_exceeds_the_context_is_counted(shown: Any, files: Path) -> None:
    text = "".join(f"x{i} = {i}\n" for i in range(400))
    Path("prefix").write_text(text)
    expected = completion_prompt(tokenizer(PLAIN), text, CONTEXT)
    answer = shown("--model", "plain", *COMPLETE)
    assert answer["token_ids"] == expected.ids
    assert answer["dropped_characters"] == expected.dropped > 0


def test_a_readable_form(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt("--model", "code", *INFILL)
    first, *lines = capsys.readouterr().out.splitlines()
    ids = infilling_prompt(tokenizer(CODE), PREFIX, SUFFIX, CONTEXT).ids
    assert first.startswith(f"{len(ids)} tokens")
    assert [int(line.split()[0]) for line in lines] == ids
    assert lines[:2] == ["      1  <s>", "  32007  ▁<PRE>"]
    assert lines[-1].endswith("taken off by healing")


def test_no_torch(files: Path) -> None:
    code = f"""
import argparse, sys
from cl_engine.show_prompt import add_arguments, run
parser = argparse.ArgumentParser()
add_arguments(parser)
run(parser.parse_args({["--model", "code", *INFILL]!r}))
assert not {{"torch", "fastapi", "transformers"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (("--capability", "fill"), InvalidRequest, "'fill' is none of completion, infilling"),
        (("--capability", "completion"), InvalidRequest, "completion needs --prefix-file"),
        (INFILL[:4], InvalidRequest, "infilling needs --suffix-file"),
        (("--capability", "chat"), InvalidRequest, "chat needs --messages"),
        ((*COMPLETE, "--suffix-file", "suffix"), InvalidRequest, "--suffix-file is not for"),
        ((*COMPLETE, "--order", "psm"), InvalidRequest, "--order is not for completion"),
        ((*INFILL, "--format", "meta"), InvalidRequest, "--format is not for infilling"),
        ((*CHAT, "--prefix-file", "prefix"), InvalidRequest, "--prefix-file is not for chat"),
        (("--model", "nowhere", *COMPLETE), UnknownModel, "nowhere"),
        (("--model", "plain", *INFILL), Unsupported, "cannot do infilling"),
        ((*CHAT,), Unsupported, "embedded cannot do chat"),
        (("--model", "plain", *CHAT, "--format", "source"), Unsupported, "<step>"),
        ((*COMPLETE[:3], "missing"), InvalidRequest, "missing: cannot be read"),
        ((*COMPLETE[:3], "."), InvalidRequest, "directory"),
        ((*COMPLETE[:3], "latin1"), InvalidRequest, "latin1: not UTF-8 .*0xE9 at offset 3"),
        (("--model", "plain", *CHAT[:3], "prefix"), InvalidRequest, "prefix: not JSON"),
        (("--model", "plain", *CHAT[:3], "number"), InvalidRequest, "messages: an int, not a list"),
        (("--model", "other", *COMPLETE), BrokenCheckpoint, "has 32000 pieces, the model 32016"),
        (("--model", "untold", *COMPLETE), BrokenCheckpoint, r"no tokenizer\.model or"),
    ],
)
def test_bad_input_is_named(
    files: Path, args: tuple[str, ...], error: type[Exception], message: str
) -> None:
    Path("latin1").write_bytes("café".encode("latin-1"))
    Path("number").write_text("3")
    (make_model(files / "other", CODE) / "tokenizer.model").write_bytes(proto(PLAIN))
    (make_model(files / "untold", CODE) / "tokenizer.model").unlink()
    with pytest.raises(error, match=message):
        prompt(*args)
