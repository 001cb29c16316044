"""`pipeline()`: a model in this process, called as lmdeploy's users call theirs.

with pipeline("codellama/CodeLlama-7b-hf") as pipe:
    print(pipe("def fib(n):", GenerationConfig(max_new_tokens=64)).text)
"""

import os
import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from .bar import loading_bar, making_bar
from .chat import kind
from .errors import EngineError, InvalidRequest
from .facts import read_facts
from .generation import GenerationConfig, prompt_room
from .hub import ensure
from .kernels import Kernels
from .loop import Engine
from .prompt import Prompt
from .request import ErrorEvent, Event, FinishEvent, FinishReason, Request, TextEvent
from .template import Asked, ChatTemplateConfig

__all__ = ["ChatTemplateConfig", "GenerationConfig", "Pipeline", "Response", "pipeline"]
CLOSED = "this pipeline is closed"
WINDOW = 32  # requests given to the engine at once; it turns those past its queue away

Prompts = Asked | Sequence[Asked]


@dataclass
class Response:
    """One answer, or in a stream a piece of it; the counts are those so far.

    Field names as in lmdeploy's `Response`.
    """

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    """`stop`: an end token or word; `length`: max_new_tokens or the context; None: goes on."""
    input_token_len: int = 0
    generate_token_len: int = 0
    logprobs: list[dict[int, float]] | None = None
    index: int = 0
    """Which of the prompts this answers."""
    dropped_characters: int = 0
    """How much of the prompt's beginning was left out because it exceeds the context."""


@dataclass(frozen=True)
class _Job:
    prompt: Prompt
    config: GenerationConfig
    index: int
    seed: int | None


class Pipeline:
    """A loaded model. Calls may come from several threads; a closed one raises EngineError."""

    def __init__(self, engine: Engine, template: ChatTemplateConfig):
        self._engine = engine
        self._model = engine.loaded.result()
        self.template = template.of(self._model.identity)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way and give the memory back; a second time does nothing."""
        if not self._closed:
            self._closed = True
            self._engine.stop()
            self._engine.forget()
            del self._model

    def __call__(
        self,
        prompts: Prompts,
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None = None,
    ) -> Any:
        """Answer a text or a chat with a Response, a list of them with a list of Responses.

        A chat is a list of OpenAI's messages. With `n` above 1 each prompt gets a list of `n`
        Responses. Raises InvalidRequest or Unsupported before anything is generated.
        """
        jobs, single = self._jobs(prompts, gen_config)
        answers = [Response() for _ in jobs]
        for number, piece in self._stream(jobs):
            whole = answers[number]
            whole.text += piece.text
            whole.token_ids += piece.token_ids
            whole.logprobs = _joined(whole.logprobs, piece.logprobs)
            whole.finish_reason = piece.finish_reason
            whole.index = piece.index
            whole.input_token_len = piece.input_token_len
            whole.generate_token_len = piece.generate_token_len
            whole.dropped_characters = piece.dropped_characters
        grouped: dict[int, list[Response]] = {}
        for job, answer in zip(jobs, answers, strict=True):
            grouped.setdefault(job.index, []).append(answer)
        ns = {job.index: job.config.n for job in jobs}
        out = [group if ns[index] > 1 else group[0] for index, group in grouped.items()]
        return out[0] if single else out

    def stream_infer(
        self,
        prompts: Prompts,
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None = None,
    ) -> Iterator[Response]:
        """The pieces of the answers as they come; `index` says whose, `finish_reason` which is the
        last. Leaving the loop early ends the work."""
        jobs, _ = self._jobs(prompts, gen_config)
        if any(job.config.n > 1 for job in jobs):
            raise InvalidRequest("n: a stream gives one answer to each prompt")
        return (piece for _, piece in self._stream(jobs))

    def _jobs(
        self,
        prompts: Prompts,
        gen_config: GenerationConfig | Sequence[GenerationConfig] | None,
    ) -> tuple[list[_Job], bool]:
        """One job for each answer, and whether `prompts` is a single prompt."""
        if self._closed:
            raise EngineError(CLOSED)
        many, single = _as_list(prompts)
        given = GenerationConfig() if gen_config is None else gen_config
        if not isinstance(given, GenerationConfig | Sequence):
            raise InvalidRequest(f"gen_config: {kind(given)}, not a GenerationConfig")
        configs = [given] * len(many) if isinstance(given, GenerationConfig) else list(given)
        if len(configs) != len(many):
            raise InvalidRequest(f"gen_config: {len(configs)} for {len(many)} prompts")
        jobs = []
        for index, (asked, config) in enumerate(zip(many, configs, strict=True)):
            if not isinstance(config, GenerationConfig):
                raise InvalidRequest(f"gen_config: {kind(config)}, not a GenerationConfig")
            context = self._model.llama.config.context
            config = config.within(context)
            room = prompt_room(context, config.max_tokens, "max_new_tokens")
            prompt = self.template.prompt(self._model.tokenizer, asked, room)
            seed = config.random_seed
            seeds = [None if seed is None else seed + i for i in range(config.n)]
            jobs += [_Job(prompt, config, index, each) for each in seeds]
        return jobs, single

    def _stream(self, jobs: list[_Job]) -> Iterator[tuple[int, Response]]:
        """(number of the job, piece), for all jobs until each has finished."""
        if self._closed:
            raise EngineError(CLOSED)
        events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        waiting = list(enumerate(jobs))[::-1]
        running: dict[int, Request] = {}
        counts = [0] * len(jobs)
        try:
            while waiting or running:
                while waiting and len(running) < WINDOW:
                    number, job = waiting.pop()
                    running[number] = self._request(job, _to(events, number))
                    self._engine.submit(running[number])
                number, event = events.get()
                if isinstance(event, ErrorEvent):
                    raise EngineError(CLOSED) if self._closed else event.error
                piece = Response(index=jobs[number].index)
                piece.input_token_len = len(jobs[number].prompt.ids)
                piece.dropped_characters = jobs[number].prompt.dropped
                if isinstance(event, TextEvent):
                    counts[number] += len(event.tokens)
                    piece.text, piece.token_ids = event.text, list(event.tokens)
                    piece.logprobs = list(event.logprobs) or None
                elif isinstance(event, FinishEvent):
                    piece.finish_reason = event.reason
                    del running[number]
                piece.generate_token_len = counts[number]
                yield number, piece
        finally:
            for request in running.values():
                self._engine.cancel(request)

    def _request(self, job: _Job, deliver: Callable[[Event], None]) -> Request:
        tokenizer = self._model.tokenizer
        limits = job.config.limits(tokenizer, self.template.config.stop_words)
        sampling = replace(job.config.sampling(tokenizer), seed=job.seed)
        return Request(job.prompt, limits, sampling, deliver)


def _to(events: "queue.SimpleQueue[tuple[int, Event]]", number: int) -> Callable[[Event], None]:
    return lambda event: events.put((number, event))


def _joined(
    a: list[dict[int, float]] | None, b: list[dict[int, float]] | None
) -> list[dict[int, float]] | None:
    return a if b is None else [*(a or []), *b]


def _as_list(prompts: Prompts) -> tuple[list[Asked], bool]:
    """The prompts, and whether there was but one: a text, or a list of messages."""
    if isinstance(prompts, str):
        return [prompts], True
    if not isinstance(prompts, Sequence):
        hint = " (one message: put it into a list)" if isinstance(prompts, Mapping) else ""
        raise InvalidRequest(f"prompts: {kind(prompts)}, not a text or a list{hint}")
    if prompts and all(isinstance(item, Mapping) for item in prompts):
        return [prompts], True  # pyright: ignore[reportReturnType]
    for item in prompts:
        if not isinstance(item, str | Sequence):
            raise InvalidRequest(f"prompts: holds {kind(item)}, not texts or chats")
    return list(prompts), False  # pyright: ignore[reportReturnType]


def pipeline(
    model_path: str | os.PathLike[str],
    *,
    chat_template_config: ChatTemplateConfig | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    context: int | None = None,
    kv_memory: float | None = None,
    kernels: Kernels = "auto",
) -> Pipeline:
    """Load `model_path` (`embedded`, a directory or a hub id, fetched if it is not on this disk).

    `device`: "auto" (CUDA if there is one), "cpu", "cuda", "cuda:N"; `dtype` of the matrices:
    "auto" (bfloat16 on CUDA, float32 on a CPU), "float32", "bfloat16"; `context`: so many tokens
    instead of the model's own number, for less memory; `kv_memory`: GiB of the KV cache (None:
    four contexts, or what is free), at least one context's; `kernels`: "auto", ours on a GPU, or
    "torch", none. Raises UnknownModel, BrokenCheckpoint,
    CannotPull, Unsupported if the model lacks the template's capability, or EngineError if there is
    too little memory.
    """
    model_path = os.fspath(model_path)
    template = chat_template_config or ChatTemplateConfig()
    if not isinstance(template, ChatTemplateConfig):
        raise InvalidRequest(f"chat_template_config: {kind(template)}, not a ChatTemplateConfig")
    ensure(model_path, revision=revision)
    template.of(read_facts(model_path, revision=revision).identity)  # before gigabytes are read
    engine = Engine(
        model_path,
        revision=revision,
        device=device,
        dtype=dtype,
        context=context,
        kv_memory=None if kv_memory is None else int(kv_memory * 2**30),
        kernels=kernels,
        progress=loading_bar(model_path),
        making=making_bar(),
    )
    engine.start()
    try:
        return Pipeline(engine, template)
    except BaseException:
        engine.stop()
        raise
