"""Chats by token: Meta's two forms and lmdeploy's, on raw SentencePiece, and what is refused."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cl_engine.chat import FORMATS, Format, chat_prompt
from cl_engine.errors import InvalidRequest, Unsupported
from cl_engine.prompt import Prompt
from cl_engine.tokenizer import Tokenizer
from hypothesis import given
from hypothesis import strategies as st

from tests.vocabularies import (
    CODE,
    EMBEDDED,
    PLAIN,
    SIZES,
    TEXT,
    TEXTS,
    UNTIMED,
    meta,
    proto,
    tokenizer,
    tokenizer_json,
)

ROOM = 1 << 20
STEP = CODE - 1
Message = dict[str, Any]


def dialog(system: str | None, *contents: str) -> list[Message]:
    """The system's message, if there is one, and the user's and the assistant's in turns."""
    first = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant") * len(contents)
    return first + [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]


DIALOGS = st.builds(
    lambda system, turns, last: dialog(system, *(c for turn in turns for c in turn), last),
    st.none() | TEXT,
    st.lists(st.tuples(TEXT, TEXT), max_size=3),
    TEXT,
)


def by_meta(size: int, messages: list[Message]) -> list[int]:
    """`chat_completion` of Meta's generation.py, written down anew."""
    encode = meta(size).encode
    contents = [message["content"] for message in messages]
    if messages[0]["role"] == "system":
        contents[:2] = ["<<SYS>>\n" + contents[0] + "\n<</SYS>>\n\n" + contents[1]]
    ids = []
    for user, answer in zip(contents[::2], contents[1::2], strict=False):
        ids += [1, *encode("[INST] " + user.strip() + " [/INST] " + answer.strip() + " "), 2]
    return [*ids, 1, *encode("[INST] " + contents[-1].strip() + " [/INST]")]


def by_lmdeploy(size: int, messages: list[Message]) -> list[int]:
    """`messages2prompt` of lmdeploy's CodeLlama, in the parts that its `</s><s>` makes."""
    parts = [""]
    if messages[0]["role"] != "system":
        parts[-1] += "[INST] <<SYS>>\n" + "\n<</SYS>>\n\n"
    for message in messages:
        before, after = {
            "system": ("[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
            "user": ("", ""),
            "assistant": (" [/INST] ", None),
        }[message["role"]]
        parts[-1] += before + message["content"]
        parts += ["[INST] "] if after is None else []
        parts[-1] += after or ""
    parts[-1] += " [/INST] "
    ids = [[1, *meta(size).encode(part)] for part in parts]
    return [i for one, _ in pairwise(ids) for i in [*one, 2]] + ids[-1]


def by_source(messages: list[Message]) -> list[int]:
    """`dialog_prompt_tokens` of Meta's generation.py on a model without a dummy space."""
    encode = meta(CODE).encode_infilling
    if messages[0]["role"] != "system":
        messages = dialog("") + messages
    ids = [1]
    for message in messages:
        ids += encode(" Source: " + message["role"])
        if message["content"]:
            ids += encode("\n\n " + message["content"].strip())
        ids += [STEP]
    return ids + encode(" Source: assistant\nDestination: user") + encode("\n\n ")


@pytest.mark.parametrize("size", SIZES)
def test_chats_of_texts_to_trip_over(size: int) -> None:
    for text, other in zip(TEXTS, reversed(TEXTS), strict=True):
        for messages in (dialog(None, text), dialog(text, other), dialog(text, other, text, other)):
            own = chat_prompt(tokenizer(size), messages, ROOM)
            assert own == Prompt(by_meta(size, messages), healable=0)


@pytest.mark.parametrize("size", SIZES)
@UNTIMED
@given(messages=DIALOGS)
def test_chats_are_metas(size: int, messages: list[Message]) -> None:
    own = chat_prompt(tokenizer(size), messages, ROOM)
    assert own == Prompt(by_meta(size, messages), healable=0)


@UNTIMED
@given(DIALOGS)
def test_lmdeploys_rendering(messages: list[Message]) -> None:
    own = chat_prompt(tokenizer(PLAIN), messages, ROOM, "lmdeploy")
    assert own == Prompt(by_lmdeploy(PLAIN, messages), healable=0)


@UNTIMED
@given(DIALOGS)
def test_a_vocabulary_with_step_is_asked_in_its_own_form(messages: list[Message]) -> None:
    own = chat_prompt(tokenizer(CODE, step=True), messages, ROOM)
    assert own == Prompt(by_source(messages), healable=0)
    chosen = chat_prompt(tokenizer(CODE, step=True), messages, ROOM, "meta")
    assert chosen.ids == by_meta(CODE, messages)


@UNTIMED
@given(DIALOGS)
def test_only_the_form_puts_control_ids_in(messages: list[Message]) -> None:
    own = tokenizer(CODE, step=True)
    roles = [message["role"] for message in messages]
    turns = [1, 2] * (roles.count("user") - 1) + [1]
    steps = [1] + [STEP] * (len(roles) + ("system" not in roles))
    for form in FORMATS:
        ids = chat_prompt(own, messages, ROOM, form).ids
        expected = steps if form == "source" else turns
        assert [i for i in ids if not own.piece_bytes[i]] == expected


def test_renderings() -> None:
    own = tokenizer(CODE, step=True)
    messages = dialog(" Be brief. ", " a ", " b ", " c ")
    show = {form: own.render(chat_prompt(own, messages, ROOM, form).ids) for form in FORMATS}
    assert show == {
        "meta": "<s> [INST] <<SYS>>\n Be brief. \n<</SYS>>\n\n a [/INST] b </s>"
        "<s> [INST] c [/INST]",
        "lmdeploy": "<s> [INST] <<SYS>>\n Be brief. \n<</SYS>>\n\n a  [/INST]  b </s>"
        "<s> [INST]  c  [/INST] ",
        "source": "<s> Source: system\n\n Be brief.<step> Source: user\n\n a<step>"
        " Source: assistant\n\n b<step> Source: user\n\n c<step>"
        " Source: assistant\nDestination: user\n\n ",
    }
    bare = chat_prompt(tokenizer(CODE), dialog(None, "hi"), ROOM, "lmdeploy")
    assert tokenizer(CODE).render(bare.ids) == "<s> [INST] <<SYS>>\n\n<</SYS>>\n\nhi [/INST] "


def test_steps_ids_do_not_depend_on_the_files_dummy_space() -> None:
    messages = dialog(None, "First", "Answer", "Second")
    with tempfile.TemporaryDirectory() as folder:
        bare = json.dumps(tokenizer_json(proto(CODE, step=True), "bare"))
        (Path(folder) / "tokenizer.json").write_text(bare)
        own = Tokenizer.open(Path(folder))
    assert own.encode("x") != tokenizer(CODE, True).encode("x")
    assert chat_prompt(own, messages, ROOM) == chat_prompt(tokenizer(CODE, True), messages, ROOM)


def test_source_needs_step() -> None:
    with pytest.raises(Unsupported, match="<step>"):
        chat_prompt(tokenizer(CODE), dialog(None, "hi"), ROOM, "source")


def test_text_parts_are_joined_by_lines() -> None:
    parts = [{"type": "text", "text": "Explain:"}, {"type": "text", "text": "x = 1"}]
    own = chat_prompt(tokenizer(EMBEDDED), [{"role": "user", "content": parts}], ROOM)
    assert own == chat_prompt(tokenizer(EMBEDDED), dialog(None, "Explain:\nx = 1"), ROOM)


@pytest.mark.parametrize("format", FORMATS)
def test_too_long_a_chat_loses_its_oldest_turns(format: Format) -> None:
    own = tokenizer(CODE, step=True)
    turns = [f"question {i} {'x ' * i}" for i in range(9)]
    messages = dialog("system", *turns)
    for kept in range(5):
        short = dialog("system", *turns[8 - 2 * kept :])
        expected = chat_prompt(own, short, ROOM, format).ids
        lost = sum(map(len, turns[: 8 - 2 * kept]))
        for limit in (len(expected), len(expected) + 1):
            assert chat_prompt(own, messages, limit, format) == Prompt(expected, 0, lost)


def test_a_last_message_that_does_not_fit_is_refused_with_both_numbers() -> None:
    own = tokenizer(PLAIN)
    need = len(chat_prompt(own, dialog("be brief", "last " * 20), ROOM).ids)
    with pytest.raises(InvalidRequest, match=rf"system's message need {need} tokens.* {need - 1}"):
        chat_prompt(own, dialog("be brief", "a", "b", "last " * 20), need - 1)
    with pytest.raises(InvalidRequest, match="room for 0"):
        chat_prompt(own, dialog(None, "hi"), 0)


USER, ANSWER, SYSTEM = ({"role": r, "content": "x"} for r in ("user", "assistant", "system"))


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "none of the user's"),
        ([SYSTEM], "none of the user's"),
        ([USER, ANSWER], "last one is the assistant's"),
        ([ANSWER, USER], r"messages\[0\]: the role is 'assistant' where 'user'"),
        ([USER, USER], r"messages\[1\]: the role is 'user' where 'assistant'"),
        ([SYSTEM, SYSTEM, USER], r"messages\[1\]: a system message can only be the first"),
        ([USER, SYSTEM], r"messages\[1\]: a system message can only be the first"),
        ([USER, ANSWER, {"role": "tool", "content": "x"}], r"messages\[2\]: the role is 'tool'"),
        ([{"content": "x"}], r"messages\[0\]: the role is None"),
        ([{"role": "user"}], r"messages\[0\]: content is nothing"),
        ([{"role": "user", "content": 3}], r"messages\[0\]: content is an int"),
        ([{"role": "user", "content": ["x"]}], r"messages\[0\]: content holds a str"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "part of type 'image_url'"),
        ([{"role": "user", "content": [{"type": "text"}]}], "text part without"),
        (["hi"], r"messages\[0\]: a str, not an object"),
        ({"role": "user", "content": "x"}, "messages: a dict, not a list"),
        ("hi", "messages: a str, not a list"),
    ],
)
def test_other_messages_are_refused(messages: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        chat_prompt(tokenizer(EMBEDDED), messages, ROOM)
