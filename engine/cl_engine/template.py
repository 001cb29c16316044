"""What a user's text means to a model: which capability answers it, and as which prompt.

A chat template is lmdeploy's notion, a few lines of Python or a `codellama.json`; the field names
are those its users know.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .catalogue import CAPABILITIES, Capability, Identity
from .chat import FORMATS, Format, chat_prompt, text_of
from .errors import InvalidRequest
from .prompt import FILL, Prompt, completion_prompt, infilling_prompt, order_of, split_fill
from .tokenizer import Tokenizer

Asked = str | Sequence[Mapping[str, Any]]  # a text, or OpenAI's messages


@dataclass(frozen=True)
class ChatTemplateConfig:
    """How texts become prompts. Raises InvalidRequest for a field that makes no sense.

    Source: InternLM/lmdeploy `lmdeploy/model.py`, `ChatTemplateConfig` and `CodeLlama`.
    """

    model_name: str = "codellama"
    """The family of templates; there is one."""

    capability: Capability | None = None
    """`completion`, `infilling`, `chat` or `python`; None: chat for Instruct models, else
    completion of texts, while chats and `<FILL>` are refused. Of a model whose name says nothing it
    also says that the model can do this."""

    meta_instruction: str | None = None
    """The system's message of a chat that has none of its own. None: no such message."""

    suffix_first: bool | None = None
    """Infilling in SPM order, with healing, or in PSM order. None: PSM, as Meta's code has it, but
    SPM for `embedded`, which does twice as well with it (docs/healing.md)."""

    format: Format | None = None
    """A chat's rendering: `meta`, `lmdeploy` or, for 70B-Instruct, `source`. None: the model's."""

    stop_words: tuple[str, ...] = ()
    """Texts that end every answer, besides those of the request."""

    def __post_init__(self) -> None:
        if str(self.model_name).lower() != "codellama":
            raise InvalidRequest(f"model_name: {self.model_name!r} is not 'codellama'")
        if self.capability not in (None, *CAPABILITIES):
            known = ", ".join(CAPABILITIES)
            raise InvalidRequest(f"capability: {self.capability!r} is none of {known}")
        if self.format not in (None, *FORMATS):
            raise InvalidRequest(f"format: {self.format!r} is none of {', '.join(FORMATS)}")
        if not isinstance(self.meta_instruction, str | None):
            raise InvalidRequest("meta_instruction: not a text")
        if not isinstance(self.suffix_first, bool | None):
            raise InvalidRequest("suffix_first: not true or false")
        words = self.stop_words or ()
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise InvalidRequest("stop_words: not a list of texts")
        object.__setattr__(self, "stop_words", tuple(words))

    @classmethod
    def from_json(cls, path: str | Path) -> "ChatTemplateConfig":
        """A template from a file such as `{"model_name": "codellama", "capability": "chat"}`.

        Raises InvalidRequest, with the file's name.
        """
        try:
            raw = json.loads(Path(path).read_bytes())
            if not isinstance(raw, dict):
                raise InvalidRequest("not an object")
            known = [field.name for field in fields(cls)]
            if unknown := sorted(raw.keys() - set(known)):
                raise InvalidRequest(f"{unknown[0]}: unknown; known: {', '.join(known)}")
            return cls(**raw)
        except OSError as error:
            raise InvalidRequest(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, TypeError) as error:
            raise InvalidRequest(f"{path}: is not JSON ({error})") from error
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}: {error}") from error

    def of(self, identity: Identity) -> "Template":
        """This template for one model. Raises Unsupported if the model cannot do it."""
        default: Capability = "chat" if "chat" in identity.capabilities else "completion"
        capability = self.capability or default
        identity = identity.with_template(capability)
        identity.require(capability)
        return Template(self, capability, identity)


@dataclass(frozen=True)
class Template:
    """A template whose capability is settled, and that its model has."""

    config: ChatTemplateConfig
    capability: Capability
    identity: Identity

    def prompt(self, tokenizer: Tokenizer, asked: Asked, limit: int) -> Prompt:
        """At most `limit` ids. Raises InvalidRequest if `asked` makes no sense for the capability.

        Token for token what Meta's code gives the model: only a suffix-first prompt is healed.
        """
        if self.capability == "chat":
            return chat_prompt(tokenizer, self._messages(asked), limit, self.config.format)
        text = self._text(asked)
        if self.capability == "infilling":
            order = order_of(self.identity.label, healed=False)
            if self.config.suffix_first is not None:
                order = "spm" if self.config.suffix_first else "psm"
            return infilling_prompt(tokenizer, *split_fill(text), limit, order)
        return replace(completion_prompt(tokenizer, text, limit), healable=0)

    def _messages(self, asked: Asked) -> Sequence[Mapping[str, Any]]:
        messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        system = self.config.meta_instruction
        if system is None or (messages and messages[0].get("role") == "system"):
            return messages
        return [{"role": "system", "content": system}, *messages]

    def _text(self, asked: Asked) -> str:
        """A text, or the only message's: what is no chat has no turns."""
        if isinstance(asked, str):
            if FILL in asked and self.config.capability is None:
                raise InvalidRequest(
                    f"{FILL}: filling it in needs a chat template with capability 'infilling'; with"
                    " 'completion' it is ordinary text"
                )
            return asked
        if self.config.capability is None:
            self.identity.require("chat")
        if len(asked) != 1 or asked[0].get("role") != "user":
            raise InvalidRequest(
                f"messages: for {self.capability} give one message, the user's: its content is the"
                " prompt (a chat with turns needs an Instruct model and the capability 'chat')"
            )
        return text_of(asked[0].get("content"))
