"""The published Code Llama models as data, and what a checkpoint at hand can therefore do.

Pure facts, no files and no torch. Sizes from the published config.json files; who can do what from
Meta's model card and lmdeploy's table for Code Llama.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from .errors import Unsupported

Capability = Literal["completion", "infilling", "chat", "python"]
Variant = Literal["base", "python", "instruct"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)
EMBEDDED = "embedded"
HEAD_DIM = 128
BF16_BYTES = 2


@dataclass(frozen=True)
class Published:
    """One published model; sizes as in Hugging Face's config.json."""

    size: str  # as people say it: "7B"
    variant: Variant
    layers: int
    dim: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    context: int  # tokens
    rope_theta: float
    capabilities: frozenset[Capability]

    @property
    def alias(self) -> str:
        """The short name: `7b`, `7b-instruct`."""
        return self.size.lower() + ("" if self.variant == "base" else f"-{self.variant}")

    @property
    def name(self) -> str:
        """The repository's name, the same at both owners: `CodeLlama-7b-Instruct-hf`."""
        part = "" if self.variant == "base" else f"-{self.variant.capitalize()}"
        return f"CodeLlama-{self.size.lower()}{part}-hf"

    @property
    def hub_id(self) -> str:
        return f"codellama/{self.name}"

    @property
    def gated_id(self) -> str:
        """The same files at Meta, who wants the licence accepted first."""
        return f"meta-llama/{self.name}"

    @property
    def label(self) -> str:
        return _label(self.size, self.variant)

    @property
    def parameters(self) -> int:
        attention = 2 * self.dim * (self.heads + self.kv_heads) * HEAD_DIM
        layer = attention + 3 * self.dim * self.ffn + 2 * self.dim
        return 2 * self.vocab * self.dim + self.layers * layer + self.dim

    @property
    def weight_bytes(self) -> int:
        """Of all weights, in bf16."""
        return self.parameters * BF16_BYTES

    @property
    def kv_bytes_per_token(self) -> int:
        """Of the KV cache, in bf16."""
        return 2 * self.layers * self.kv_heads * HEAD_DIM * BF16_BYTES


def _published() -> Iterable[Published]:
    shapes = {  # layers, dim, heads, kv_heads, ffn
        "7B": (32, 4096, 32, 32, 11008),
        "13B": (40, 5120, 40, 40, 13824),
        "34B": (48, 8192, 64, 8, 22016),
        "70B": (80, 8192, 64, 8, 28672),
    }
    variants: tuple[Variant, ...] = get_args(Variant)
    for size, shape in shapes.items():
        for variant in variants:
            # The infilling pieces came with the infilling training; the 70B models all have them.
            vocab = 32016 if size == "70B" or size != "34B" and variant != "python" else 32000
            # codellama#188: these two were trained on 4096 tokens, at Llama 2's theta.
            short = size == "70B" and variant != "base"
            yield Published(
                size,
                variant,
                *shape,
                vocab=vocab,
                context=4096 if short else 16384,
                rope_theta=1e4 if short else 1e6,
                capabilities=_capabilities(size, variant, infills=True),
            )


def _capabilities(
    size: str | None, variant: Variant | None, infills: bool
) -> frozenset[Capability]:
    found: set[Capability] = {"completion"}
    if infills and _infilling_refusal(size, variant) is None:
        found.add("infilling")
    if variant == "instruct":
        found.add("chat")
    if variant == "python":
        found.add("python")
    return frozenset(found)


def _infilling_refusal(size: str | None, variant: Variant | None) -> str | None:
    if size == "34B":
        return "the 34B models were not trained to fill in"
    if variant == "python":
        return "the Python models were not trained to fill in"
    if size == "70B" and variant == "instruct":
        return "of the 70B models only the base model was trained to fill in"
    return None


def _label(size: str, variant: Variant) -> str:
    return f"Code Llama {size}" + ("" if variant == "base" else f" {variant.capitalize()}")


PUBLISHED: tuple[Published, ...] = tuple(_published())


@dataclass(frozen=True)
class Identity:
    """What a checkpoint is known to be, and so what it can do."""

    label: str
    variant: Variant | None  # None: nothing says which
    capabilities: frozenset[Capability]
    size: str | None  # "7B", of the published ones; None: another
    named: bool  # its name says what it is, which a template cannot change

    def refusal(self, capability: Capability) -> str | None:
        """Why this model cannot, and which published ones can; None if it can."""
        if capability in self.capabilities:
            return None
        able = [model.hub_id for model in PUBLISHED if capability in model.capabilities]
        return (
            f"{self.label} cannot do {capability}: {self._reason(capability)}. "
            f"These models can: {', '.join(able)}"
        )

    def require(self, capability: Capability) -> None:
        """Raises Unsupported with the refusal."""
        if message := self.refusal(capability):
            raise Unsupported(message)

    def with_template(self, capability: Capability) -> "Identity":
        """What it can do when the user's chat template names `capability`.

        A template adds what no fact contradicts: of a checkpoint whose name says nothing the user
        knows best. Raises Unsupported for what the vocabulary, the size or the name rule out.
        """
        if capability not in self.capabilities:
            if capability == "infilling" or self.named:
                self.require(capability)
            return replace(self, capabilities=self.capabilities | {capability})
        return self

    def _reason(self, capability: Capability) -> str:
        if capability == "infilling":
            untrained = _infilling_refusal(self.size, self.variant)
            return untrained or "its vocabulary lacks the infilling tokens ▁<PRE> ▁<SUF> ▁<MID>"
        wanted = "an Instruct" if capability == "chat" else "a Python"
        if self.named:
            return f"it is not {wanted} model"
        return (
            f"nothing says that it is {wanted} model; if it is, a chat template with "
            f'"capability": "{capability}" says so'
        )


# Repositories and Meta's directories; a storage format may follow, anything else is another model.
_NAME = re.compile(
    r"code-?llama[-_](?P<size>7|13|34|70)b(?:[-_](?P<variant>base|python|instruct))?"
    r"(?:[-_](?:hf|fp16|bf16|awq|gptq))*",
    re.IGNORECASE,
)
_MENTION = re.compile(r"code-?llama[-_]\d+b", re.IGNORECASE)
_VARIANTS: dict[str, Variant] = {"python": "python", "instruct": "instruct"}
_SIZES = {(model.layers, model.dim): model.size for model in PUBLISHED}


def identify(names: Iterable[str], *, layers: int, dim: int, can_infill: bool) -> Identity:
    """What a checkpoint is, from every text that may carry its name and from its files.

    `names`: the user's word first, then the directory's path and config.json's `_name_or_path`.
    A text is read from its end; the first part that mentions Code Llama with a size decides, so a
    fine-tune (`CodeLlama-7b-my-chat`) hides what it was made from. `layers` and `dim` tell the
    size, `can_infill` whether the vocabulary has the infilling pieces.
    """
    names = list(names)
    size = _SIZES.get((layers, dim))
    if names[:1] == [EMBEDDED]:
        return Identity(EMBEDDED, None, _capabilities(None, None, can_infill), None, named=True)
    parts = [part for name in names for part in _parts(name)]
    mention = next((part for part in parts if _MENTION.search(part)), None)
    match = _NAME.fullmatch(mention) if mention else None
    if match is None:
        label = mention or (parts[0] if parts else "this model")
        return Identity(label, None, _capabilities(size, None, can_infill), size, named=False)
    size = size or f"{match['size']}B"
    variant: Variant = _VARIANTS.get((match["variant"] or "").lower(), "base")
    capabilities = _capabilities(size, variant, can_infill)
    return Identity(_label(size, variant), variant, capabilities, size, named=True)


def _parts(name: str) -> list[str]:
    """Path components and those of a hub cache's folder, last first, without `@revision`."""
    parts = re.split(r"[/\\]|--", re.sub(r"@[^/\\]*$", "", name))
    return [part for part in reversed(parts) if part]


def lookup(word: str) -> Published | None:
    """A published model by alias, name or id at either owner, in any case; None if it is none.

    >>> lookup("7b-instruct").hub_id
    'codellama/CodeLlama-7b-Instruct-hf'
    """
    return _BY_NAME.get(word.lower())


_BY_NAME = {
    spelling.lower(): model
    for model in PUBLISHED
    for name in (model.alias, model.name, model.name.removesuffix("-hf"))
    for spelling in (name, model.hub_id, model.gated_id)
}


def human_size(size: int) -> str:
    """Bytes as people say them, in powers of 1000.

    >>> human_size(13_476_839_424), human_size(524_288_000), human_size(900)
    ('13.5 GB', '524 MB', '1 kB')
    """
    if size >= 10**9:
        value = size / 10**9
        return f"{value:.{1 if value < 99.95 else 0}f} GB"
    return f"{size / 10**6:.0f} MB" if size >= 10**6 else f"{size / 1000:.0f} kB"
