"""Why there was no suggestion: every silence has one of these names, and a sentence for people.

An engine's own `stop_reason` of an empty answer is named here too; docs/trouble.md lists them all.
"""

from enum import StrEnum


class Reason(StrEnum):
    """The name goes over the wire and into the trace; `sentence` is what people read."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> "Reason":
        self = str.__new__(cls, name)
        self._value_ = name
        self.sentence = sentence
        return self

    # The user's own wish.
    PAUSED = "paused", "suggestions are paused; the command cl-lsp.resume brings them back"
    OFF = "off", "the setting completion.enabled is false"
    LANGUAGE = "language", "completion.languages and completion.disabledLanguages leave it out"
    GLOB = "glob", "completion.disabledGlobs names this file"
    COMMENT = "comment", "the cursor is in a comment, and completion.inComments is false"
    STRING = "string", "the cursor is in a string, and completion.inStrings is false"
    # Privacy.
    PRIVATE = "private", "its name is one of files with keys; privacy.completePrivate allows it"
    CHAT = "chat", "it is a chat document: its next turn is sent, not completed"
    IGNORED = "ignored", "an ignore file or privacy.ignoredGlobs names it (privacy.completeIgnored)"
    UNSETTLED = "unsettled", "the editor has not told its settings yet, and they may forbid it"
    # The document and the cursor.
    CLOSED = "closed", "the document is not open, or was closed meanwhile"
    BINARY = "binary", "the document is binary"
    TOO_LARGE = "too-large", "the document is longer than 2,000,000 characters"
    NO_SUCH_LINE = "no-such-line", "the document has no such line; the editor and we differ on it"
    # The request.
    OVERTAKEN = "overtaken", "a newer request of the same kind took its place"
    CHANGED = "changed", "the document has changed while the answer was made"
    CANCELLED = "cancelled", "the editor took the request back"
    # The engine.
    GONE = "engine-gone", "no engine answered"
    CANNOT_START = "engine-cannot-start", "the engine did not start"
    RESTING = "engine-resting", "the engine kept failing and is left alone for a moment"
    REFUSED = "engine-refused", "the engine answered with an error"
    BUSY = "engine-busy", "the engine has too much to do"
    # The answer.
    MID_WORD = "mid-word", "the cursor is within a word, or what the model wrote joins the next one"
    BLANK = "blank", "the model wrote blanks only"
    REPETITION = "repetition", "the model wrote the same again and again"
    BRACKETS = "brackets", "the model wrote only what closes a bracket that is not open"
    ABOVE = "above", "all that the model wrote stands above the cursor already"
    SUFFIX = "suffix", "all that the model wrote stands after the cursor already"
    EOT = "eot", "the model had nothing to add"
    EOS = "eos", "the model had nothing to add"
    STOP = "stop", "the model had nothing to add"
    LINE = "line", "the model wrote nothing on this line"
    BLOCK = "block", "the model wrote nothing in this block"
    MAX_TOKENS = "max_tokens", "only blanks came within completion.maxTokens"
    LENGTH = "length", "only blanks came within completion.maxTokens"
    TIME = "time", "nothing came within completion.timeBudgetMs"
    CONTEXT = "context", "the document leaves no room in the model's context"
    MEMORY = "memory", "the engine has no memory left for this request"
    SUPERSEDED = "superseded", "the engine dropped it for a newer request"
    ADOPTED = "adopted", "a newer request took its generation over"
    EMPTY = "empty", "the engine sent nothing, and no reason"


def sentence(name: str) -> str:
    """Of a reason by its name; what is none, as the text of an error, speaks for itself.

    >>> sentence("eos"), sentence("port 9 is closed")
    ('the model had nothing to add', 'port 9 is closed')
    """
    try:
        return Reason(name).sentence
    except ValueError:
        return name
