"""How models of other servers are told what stands before and after the cursor. Only text.

Sources: Code Llama, facebookresearch/codellama `llama/generation.py`; READMEs of Qwen2.5-Coder and
DeepSeek-Coder; StarCoder2, arXiv 2402.19173; cards of CodeGemma, Granite and Mellum; Codestral,
mistral-common `tokens/tokenizers`; Seed-Coder, arXiv 2506.03524.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Snippets = Sequence[tuple[str, str]]  # file name, text
Family = Literal[
    "codellama",
    "codegemma",
    "codestral",
    "deepseek",
    "granite4",
    "mellum",
    "qwen",
    "seed",
    "starcoder",
    "starcoder2",
]


@dataclass(frozen=True)
class Template:
    """`form` has {prefix} and {suffix}; `file`, for a file beside it, {name} and {text}.

    `end` is what the model writes behind the middle; none of `words` may come from a file.
    """

    form: str
    words: tuple[str, ...]
    end: tuple[str, ...]
    file: str = ""
    name: re.Pattern[str] = re.compile("$^")

    def prompt(self, prefix: str, suffix: str, snippets: Snippets = ()) -> str:
        """Control words that stand in the texts are broken up, so that they stay text."""
        files = [
            self.file.format(name=self.plain(name), text=self.plain(text))
            for name, text in (snippets if self.file else ())
        ]
        if not self.file and snippets:
            prefix = commented(snippets) + prefix
        return "".join(files) + self.form.format(
            prefix=self.plain(prefix), suffix=self.plain(suffix)
        )

    def plain(self, text: str) -> str:
        for word in self.words:
            text = text.replace(word, f"{word[0]} {word[1:]}")
        return text

    def cut(self, text: str) -> str:
        """An answer, without what ends it, should the server have left that in."""
        for word in (*self.end, *self.words):
            text = text.partition(word)[0]
        return text


def commented(snippets: Snippets) -> str:
    """For models that know no other files: their text before the prefix, each below its name."""
    return "".join(f"# {name}\n{text.rstrip()}\n\n" for name, text in snippets)


def _words(pattern: str, *names: str) -> tuple[str, ...]:
    return tuple(pattern.replace("*", name) for name in names)


_STAR = _words("<fim_*>", "prefix", "suffix", "middle", "pad")
_BAR = _words("<|fim_*|>", "prefix", "suffix", "middle", "pad")
_DEEPSEEK = _words("<｜fim▁*｜>", "begin", "hole", "end")
TEMPLATES: dict[Family, Template] = {
    # Hugging Face's tokenizers know the pieces by their own spelling; no space before the suffix.
    "codellama": Template(
        "▁<PRE> {prefix}▁<SUF>{suffix}▁<MID>",
        _words("▁<*>", "PRE", "SUF", "MID", "EOT"),
        ("▁<EOT>", " <EOT>", "<EOT>"),
        "# {name}\n{text}\n\n",  # as ours has them
        re.compile(r"code-?llama(?!.*(34b|70b|python)).*"),
    ),
    "qwen": Template(
        "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>",
        (*_BAR, "<|repo_name|>", "<|file_sep|>", "<|endoftext|>"),
        ("<|endoftext|>", "<|im_end|>"),
        "<|file_sep|>{name}\n{text}\n",
        re.compile(r"qwen.*coder"),
    ),
    "codegemma": Template(
        "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>",
        (*_BAR, "<|file_separator|>"),
        ("<|file_separator|>", "<eos>"),
        name=re.compile(r"codegemma"),
    ),
    "granite4": Template(
        "<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>",
        _BAR,
        ("<|end_of_text|>",),
        name=re.compile(r"granite-?4"),
    ),
    "starcoder2": Template(
        "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>",
        (*_STAR, "<repo_name>", "<file_sep>", "<|endoftext|>"),
        ("<|endoftext|>", "<file_sep>"),
        "<file_sep>{name}\n{text}\n",
        re.compile(r"starcoder-?2"),
    ),
    "starcoder": Template(
        "<fim_prefix>{prefix}<fim_suffix>{suffix}<fim_middle>",
        (*_STAR, "<|endoftext|>"),
        ("<|endoftext|>",),
        name=re.compile(r"starcoder|stable-?code|granite.*code|codeqwen|refact"),
    ),
    "deepseek": Template(
        "<｜fim▁begin｜>{prefix}<｜fim▁hole｜>{suffix}<｜fim▁end｜>",
        (*_DEEPSEEK, "<｜end▁of▁sentence｜>"),
        ("<｜end▁of▁sentence｜>",),
        "#{name}\n{text}\n",
        re.compile(r"deepseek.*coder"),
    ),
    "codestral": Template(
        "[SUFFIX]{suffix}[PREFIX]{prefix}",
        ("[PREFIX]", "[SUFFIX]", "[MIDDLE]", "</s>"),
        ("</s>",),
        name=re.compile(r"codestral"),
    ),
    "mellum": Template(
        "<fim_suffix>{suffix}<fim_prefix>{prefix}<fim_middle>",
        (*_STAR, "<filename>", "<|endoftext|>"),
        ("<|endoftext|>",),
        "<filename>{name}\n{text}\n",
        re.compile(r"mellum"),
    ),
    "seed": Template(
        "<[fim-suffix]>{suffix}<[fim-prefix]>{prefix}<[fim-middle]>",
        _words("<[fim-*]>", "suffix", "prefix", "middle"),
        ("<[end▁of▁sentence]>",),
        name=re.compile(r"seed-?coder"),
    ),
}


def family_of(model: str) -> Family | None:
    """By a model's name; None if it is none that can infill, as far as we know.

    >>> family_of("codellama/CodeLlama-7b-hf"), family_of("CodeLlama-34b-hf")
    ('codellama', None)
    >>> family_of("Qwen/Qwen2.5-Coder-7B"), family_of("bigcode/starcoder2-3b")
    ('qwen', 'starcoder2')
    """
    name = model.lower()
    return next((f for f, template in TEMPLATES.items() if template.name.search(name)), None)
