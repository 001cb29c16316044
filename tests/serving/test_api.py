"""`pipeline()`: as lmdeploy's users call it, token for token what transformers generates."""

import gc
import re
import shutil
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cl_engine import ChatTemplateConfig, GenerationConfig, Pipeline, Response, pipeline
from cl_engine.errors import EngineError, InvalidRequest, Unsupported
from cl_engine.tokenizer import Tokenizer

from tests.checkpoints import make_checkpoint

DOC = Path(__file__).parents[2] / "docs" / "pipeline.md"
PROMPT = "import socket\n\ndef ping(host: str):"
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("models") / "some-model", seed=3)


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Iterator[Pipeline]:
    with pipeline(str(folder), device="cpu") as pipe:
        yield pipe


def one(answer: Response | list) -> Response:
    assert isinstance(answer, Response)
    return answer


@pytest.mark.parametrize(
    ("name", "vocab", "kv_heads"),
    [("CodeLlama-7b-hf", 32016, 4), ("CodeLlama-34b-hf", 32000, 2)],
)
def test_greedy_answers_equal_transformers(
    tmp_path: Path, name: str, vocab: int, kv_heads: int
) -> None:
    from transformers import LlamaForCausalLM

    folder = make_checkpoint(tmp_path / name, vocab=vocab, kv_heads=kv_heads, dim=32, ffn=48)
    theirs: Any = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = Tokenizer.open(folder)
    ids = [tokenizer.bos, *tokenizer.encode(PROMPT)]
    made = theirs.generate(
        torch.tensor([ids]), max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    with pipeline(str(folder), device="cpu") as pipe:
        answer = pipe(PROMPT, GenerationConfig(max_new_tokens=64, ignore_eos=True))
    assert answer.token_ids == made[0, len(ids) :].tolist()
    assert (
        answer.text.encode()
        == tokenizer.to_bytes(answer.token_ids).decode(errors="replace").encode()
    )
    assert (answer.input_token_len, answer.generate_token_len) == (len(ids), 64)
    assert answer.finish_reason == "length"


def test_a_list_is_answered_in_its_order(pipe: Pipeline) -> None:
    config = GenerationConfig(max_new_tokens=4)
    prompts = [f"x{i} = " for i in range(70)]  # more than the engine's queue takes at once
    together = pipe(prompts, config)
    assert [answer.index for answer in together] == list(range(70))
    for i in (0, 31, 32, 69):
        assert one(pipe(prompts[i], config)).token_ids == together[i].token_ids
    assert pipe([], config) == []
    different = pipe(prompts[:2], [config, GenerationConfig(max_new_tokens=2)])
    assert [len(answer.token_ids) for answer in different] == [4, 2]
    with pytest.raises(InvalidRequest, match="gen_config: 1 for 2 prompts"):
        pipe(prompts[:2], [config])


def test_a_stream_adds_up_to_the_answer(pipe: Pipeline) -> None:
    config = GenerationConfig(max_new_tokens=24, ignore_eos=True, logprobs=2)
    whole = one(pipe(PROMPT, config))
    pieces = list(pipe.stream_infer(PROMPT, config))
    assert len(pieces) > 2  # drafts that come true make pieces of several tokens
    assert "".join(piece.text for piece in pieces) == whole.text
    assert [i for piece in pieces for i in piece.token_ids] == whole.token_ids
    # The second prompt was cached: float32 products of fewer rows differ in their last bits.
    logprobs = [each for piece in pieces for each in piece.logprobs or []]
    assert logprobs == [pytest.approx(each, abs=1e-4) for each in whole.logprobs or []]
    assert [piece.finish_reason for piece in pieces][-2:] == [None, "length"]
    assert [p.generate_token_len for p in pieces] == sorted(p.generate_token_len for p in pieces)


def test_a_stream_that_is_left_ends_its_work(pipe: Pipeline) -> None:
    config = GenerationConfig(max_new_tokens=400, ignore_eos=True)
    prompts = [f"{letter} = " for letter in "abcd"]
    stream = pipe.stream_infer(prompts, config)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    one(pipe("e = ", GenerationConfig(max_new_tokens=1)))  # behind the cancels in the inbox
    assert pipe._engine.loaded.done()
    assert len(list(pipe.stream_infer("e = ", GenerationConfig(max_new_tokens=2)))) >= 2


def test_seeds_decide(pipe: Pipeline) -> None:
    config = {"max_new_tokens": 12, "do_sample": True, "temperature": 1.5, "ignore_eos": True}
    first, second = pipe(PROMPT, GenerationConfig(n=2, random_seed=5, **config))
    assert first.token_ids == one(pipe(PROMPT, GenerationConfig(random_seed=5, **config))).token_ids
    assert (
        second.token_ids == one(pipe(PROMPT, GenerationConfig(random_seed=6, **config))).token_ids
    )
    assert first.token_ids != second.token_ids
    grouped = pipe(["a", "b"], GenerationConfig(n=2, random_seed=5, **config))
    assert [[answer.index for answer in group] for group in grouped] == [[0, 0], [1, 1]]
    with pytest.raises(InvalidRequest, match="n: a stream"):
        pipe.stream_infer(PROMPT, GenerationConfig(n=2))


def test_greedy_unless_asked_to_sample(pipe: Pipeline) -> None:
    short = {"max_new_tokens": 8, "ignore_eos": True}
    greedy = one(pipe(PROMPT, GenerationConfig(**short)))
    for config in (
        GenerationConfig(temperature=2.0, random_seed=1, **short),
        GenerationConfig(do_sample=True, temperature=0, **short),
        GenerationConfig(do_sample=True, top_k=1, **short),
    ):
        assert one(pipe(PROMPT, config)).token_ids == greedy.token_ids


def test_what_ends_an_answer(pipe: Pipeline) -> None:
    free = one(pipe(PROMPT, GenerationConfig(max_new_tokens=20, ignore_eos=True)))
    stop_id = free.token_ids[6]
    before = free.token_ids[: free.token_ids.index(stop_id)]
    by_id = one(pipe(PROMPT, GenerationConfig(stop_token_ids=[stop_id], ignore_eos=True)))
    assert (by_id.token_ids, by_id.finish_reason) == (before, "stop")
    word = free.text[8:11]
    by_word = one(pipe(PROMPT, GenerationConfig(stop_words=[word], ignore_eos=True)))
    assert (by_word.text, by_word.finish_reason) == (free.text[: free.text.index(word)], "stop")
    late = GenerationConfig(
        stop_token_ids=[stop_id], ignore_eos=True, min_new_tokens=12, max_new_tokens=40
    )
    longer = one(pipe(PROMPT, late)).token_ids
    assert len(longer) >= 12 and stop_id not in longer
    assert longer[: len(before)] == before


def test_what_never_occurs(pipe: Pipeline) -> None:
    config = {"max_new_tokens": 16, "ignore_eos": True}
    free = one(pipe(PROMPT, GenerationConfig(**config)))
    bad_id = free.token_ids[3]
    without = one(pipe(PROMPT, GenerationConfig(bad_token_ids=[bad_id], **config)))
    assert without.token_ids[:3] == free.token_ids[:3] and bad_id not in without.token_ids
    tokenizer = pipe._model.tokenizer
    pair = tokenizer.encode_infilling("return self")
    assert len(pair) > 1
    word = GenerationConfig(bad_words=["return self"], **config).sampling(tokenizer)
    assert tuple(pair) in word.bad
    assert one(pipe(PROMPT, GenerationConfig(bad_words=["zz"], **config))).token_ids


def test_special_tokens_show_only_when_asked_for(pipe: Pipeline) -> None:
    tokenizer = pipe._model.tokenizer
    others = [i for i in range(tokenizer.size) if i != tokenizer.eos]
    config = {"max_new_tokens": 3, "ignore_eos": True, "bad_token_ids": others}
    shown = one(pipe(PROMPT, GenerationConfig(skip_special_tokens=False, **config)))
    hidden = one(pipe(PROMPT, GenerationConfig(**config)))
    assert shown.token_ids == hidden.token_ids == [tokenizer.eos] * 3
    assert (shown.text, hidden.text) == ("</s></s></s>", "")


def test_logprobs_are_those_of_the_model(pipe: Pipeline) -> None:
    answer = one(pipe(PROMPT, GenerationConfig(max_new_tokens=3, logprobs=4, ignore_eos=True)))
    assert answer.logprobs is not None and len(answer.logprobs) == 3
    for token, logprobs in zip(answer.token_ids, answer.logprobs, strict=True):
        assert len(logprobs) == 4 and max(logprobs, key=logprobs.__getitem__) == token
        assert all(value <= 0 for value in logprobs.values())
    assert one(pipe(PROMPT, GenerationConfig(max_new_tokens=3))).logprobs is None


def test_a_long_prompt_says_what_was_dropped(pipe: Pipeline) -> None:
    text = "".join(f"value_{i} = {i}\n" for i in range(200))
    answer = one(pipe(text, GenerationConfig(max_new_tokens=8)))
    assert 0 < answer.dropped_characters < len(text)
    assert answer.input_token_len <= 512 - 8
    assert one(pipe(PROMPT, GenerationConfig(max_new_tokens=8))).dropped_characters == 0
    with pytest.raises(InvalidRequest, match="max_new_tokens: 500 leaves no room"):
        pipe(PROMPT, GenerationConfig(max_new_tokens=500))


def test_the_hole_is_filled(folder: Path) -> None:
    config = GenerationConfig(max_new_tokens=6)
    for suffix_first in (False, True):
        template = ChatTemplateConfig(capability="infilling", suffix_first=suffix_first)
        with pipeline(str(folder), chat_template_config=template, device="cpu") as pipe:
            answer = one(pipe("def f():\n    <FILL>\n    return x", config))
            infill = pipe._model.tokenizer.infill
            assert infill is not None
            prompt = pipe.template.prompt(pipe._model.tokenizer, "a<FILL>b", 100)
            order = [infill.prefix, infill.suffix, infill.middle]
            assert [i for i in prompt.ids if i in order] == order
            assert (prompt.ids[2] == infill.suffix) == suffix_first == bool(prompt.healable)
            assert answer.generate_token_len >= 1
            for text, message in (("a", "no <FILL>"), ("<FILL> <FILL>", "2 ")):
                with pytest.raises(InvalidRequest, match=message):
                    pipe(text)


def test_a_chat_needs_an_instruct_model(tmp_path: Path) -> None:
    def made(name: str, vocab: int = 32016) -> str:
        return str(make_checkpoint(tmp_path / name, vocab=vocab, dim=32, ffn=48))

    short, chat = GenerationConfig(max_new_tokens=3), ChatTemplateConfig(capability="chat")
    with pipeline(made("CodeLlama-7b-Instruct-hf"), device="cpu") as pipe:
        assert pipe.template.capability == "chat"
        prompt = pipe.template.prompt(pipe._model.tokenizer, "hi", 100)
        assert pipe._model.tokenizer.render(prompt.ids) == "<s> [INST] hi [/INST]"
        assert one(pipe(CHAT, short)).token_ids == one(pipe("hi", short)).token_ids
        assert len(pipe([CHAT, CHAT], short)) == 2
    base = made("CodeLlama-7b-hf")
    with pytest.raises(Unsupported, match=r"not an Instruct model\. .*CodeLlama-7b-Instruct-hf"):
        pipeline(base, chat_template_config=chat, device="cpu")
    with pipeline(base, device="cpu") as pipe:
        assert pipe.template.capability == "completion"
        with pytest.raises(Unsupported, match="not an Instruct model"):
            pipe(CHAT)
        with pytest.raises(InvalidRequest, match="<FILL>: filling it in needs a chat template"):
            pipe("a <FILL> b")
        plain = one(pipe("hi", short)).token_ids
    completion = ChatTemplateConfig(capability="completion")
    with pipeline(Path(base), chat_template_config=completion, device="cpu") as pipe:
        assert one(pipe(CHAT, short)).token_ids == plain
        with pytest.raises(InvalidRequest, match="for completion give one message"):
            pipe([{"role": "system", "content": "x"}, *CHAT])
        assert one(pipe("a <FILL> b", short)).token_ids
    infilling = ChatTemplateConfig(capability="infilling")
    for name in ("CodeLlama-7b-Python-hf", "CodeLlama-34b-hf"):
        with pytest.raises(Unsupported, match=r"cannot do infilling.*CodeLlama-13b-hf"):
            pipeline(made(name, 32000), chat_template_config=infilling, device="cpu")
    # Of a model whose name says nothing the user knows best.
    with pipeline(made("my-tune"), chat_template_config=chat, device="cpu") as pipe:
        assert one(pipe(CHAT, short)).input_token_len > 5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n", 0, "n: 0 is not at least 1"),
        ("max_new_tokens", 0, "max_new_tokens: 0"),
        ("max_new_tokens", 1.5, "not a whole number"),
        ("top_p", 1.1, r"top_p: 1.1 is not in 0 to 1"),
        ("top_k", -1, "top_k: -1"),
        ("top_k", None, "top_k: None"),
        ("min_p", float("nan"), "min_p: nan"),
        ("temperature", -0.1, "temperature: -0.1"),
        ("temperature", "hot", "temperature: 'hot' is not a number"),
        ("repetition_penalty", 0, "repetition_penalty: 0"),
        ("random_seed", 2**63, "random_seed"),
        ("do_sample", 1, "do_sample: 1 is not True or False"),
        ("stop_words", "x", "stop_words: 'x' is not a list"),
        ("stop_words", [""], "empty text"),
        ("stop_token_ids", [-3], "negative id"),
        ("bad_token_ids", ["a"], "bad_token_ids"),
        ("min_new_tokens", 600, None),
        ("logprobs", 21, "logprobs: 21"),
    ],
)
def test_bad_values_are_named(field: str, value: object, message: str | None) -> None:
    if message is None:
        message, others = (
            "min_new_tokens: 600 is above max_new_tokens, 500",
            {"max_new_tokens": 500},
        )
    else:
        others = {}
    with pytest.raises(InvalidRequest, match=message):
        GenerationConfig(**{field: value, **others})  # type: ignore[arg-type]


def test_what_only_the_model_knows_is_wrong_is_named(pipe: Pipeline) -> None:
    with pytest.raises(InvalidRequest, match="stop_token_ids: 8192 is not below 8192"):
        pipe(PROMPT, GenerationConfig(stop_token_ids=[8192]))
    cases: list[tuple[Any, str]] = [
        (3, "prompts: an int"),
        ([PROMPT, 3], "prompts: holds an int"),
        (CHAT[0], "a dict, not a text or a list .one message: put it into a list"),
    ]
    for prompts, message in cases:
        with pytest.raises(InvalidRequest, match=message):
            pipe(prompts)
    wrong: Any = {"max_new_tokens": 4}
    with pytest.raises(InvalidRequest, match="gen_config: a dict, not a GenerationConfig"):
        pipe(PROMPT, wrong)
    with pytest.raises(InvalidRequest, match="chat_template_config: a dict"):
        pipeline("embedded", chat_template_config=wrong)


@pytest.mark.parametrize(
    ("ending", "code"), [("raise ValueError('mine')", 1), ("break", 0), ("pipe.close(); break", 0)]
)
def test_a_process_that_ends_in_mid_generation_ends_well(ending: str, code: int) -> None:
    script = f"""
from cl_engine import GenerationConfig, pipeline
pipe = pipeline("embedded", device="cpu")
stream = pipe.stream_infer("def f(x):", GenerationConfig(max_new_tokens=2000, ignore_eos=True))
for piece in stream:
    {ending}
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "terminate" not in done.stderr


def test_a_closed_pipeline_says_so(folder: Path) -> None:
    pipe = pipeline(str(folder), device="cpu")
    pipe(PROMPT, GenerationConfig(max_new_tokens=2))
    weights = weakref.ref(pipe._model.llama.weights.head.weight)
    pipe.close()
    pipe.close()
    gc.collect()
    assert weights() is None  # the memory is free although `pipe` is still there
    for call in (pipe, pipe.stream_infer):
        with pytest.raises(EngineError, match="closed"):
            call(PROMPT)


def test_a_template_file(tmp_path: Path) -> None:
    path = tmp_path / "codellama.json"
    path.write_text('{"model_name": "codellama", "capability": "completion"}')
    assert ChatTemplateConfig.from_json(str(path)) == ChatTemplateConfig(capability="completion")
    cases = {
        '{"capability": "dance"}': "codellama.json: capability: 'dance' is none of completion",
        '{"model_name": "llama4"}': "model_name: 'llama4'",
        '{"capabilty": "chat"}': "capabilty: unknown; known: model_name",
        '{"stop_words": "x"}': "stop_words",
        '{"suffix_first": 1}': "suffix_first",
        '{"format": "x"}': "format: 'x' is none of",
        "[1]": "not an object",
        "{": "is not JSON",
    }
    for text, message in cases.items():
        path.write_text(text)
        with pytest.raises(InvalidRequest, match=message):
            ChatTemplateConfig.from_json(path)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        ChatTemplateConfig.from_json(tmp_path / "none.json")


def test_the_examples_of_the_documentation_run(tmp_path: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert len(examples) == 4
    cache = tmp_path / "hub"
    for name, vocab in (("7b", 32016), ("7b-Instruct", 32016), ("7b-Python", 32000)):
        home = cache / f"models--codellama--CodeLlama-{name}-hf"
        make_checkpoint(home / "snapshots" / ("0" * 40), vocab=vocab, dim=32, ffn=48, context=2048)
        (home / "refs").mkdir()
        (home / "refs" / "main").write_text("0" * 40)
    script = "\n\n".join(
        f"{example}\nassert response.token_ids\npipe.close()" for example in examples
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(cache)
