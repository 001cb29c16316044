"""What never leaves a workspace: paths that are private, and what looks like a secret in text.

Rules of names and forms, no proof: a secret that looks like nothing is not known for one.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePath

_FOLDERS = """
    .aws .azure .docker .gcloud .gnupg .kube .password-store .secrets .ssh .vault secrets
"""
_NAMES = """
    .env* *.env *.pem *.key *.p12 *.pfx *.p8 *.jks *.keystore *.kdbx *.ppk *.gpg *.asc *.ovpn
    id_rsa* id_dsa* id_ecdsa* id_ed25519* *.credentials credentials* .git-credentials .netrc _netrc
    .npmrc .pypirc .pgpass .htpasswd .dockercfg .vault-token *.tfvars *.tfvars.json *.tfstate*
    kubeconfig* service-account*.json service_account*.json secret.* secrets.* *.secret *.secrets
    authorized_keys known_hosts
"""
FOLDERS, NAMES = frozenset(_FOLDERS.split()), tuple(_NAMES.split())
MASK = "<masked>"

BLOCK = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----)(.*?)(?=-----END |\Z)", re.DOTALL
)
TOKENS = re.compile(
    r"""\b(?:
    A[KS]IA[0-9A-Z]{16} | gh[opsur]_\w{30,} | github_pat_\w{22,} | glpat-[\w-]{20,}
    | xox[abeoprs]-[\w-]{10,} | sk-[\w-]{20,} | [prs]k_(?:live|test)_\w{16,} | AIza[\w-]{35}
    | ya29\.[\w-]{20,} | hf_[A-Za-z0-9]{30,} | npm_[A-Za-z0-9]{36} | pypi-[\w-]{50,}
    | dop_v1_[0-9a-f]{64} | SG\.[\w-]{16,}\.[\w-]{16,} | eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+
    )""",
    re.VERBOSE,
)
# What all of those begin with: it is looked for first, which is 20 times as quick.
_HEADS = """
    AKIA ASIA gho_ ghp_ ghs_ ghu_ ghr_ github_pat_ glpat- xox sk- _live_ _test_ AIza ya29. hf_ npm_
    pypi- dop_v1_ SG. eyJ
"""
TOKEN_HEADS = _HEADS.split()
IN_URL = re.compile(r"(://[^\s/:@'\"`]*:)([^\s/@'\"`{}$<]+)(?=@)")
BEARER = re.compile(r"(\b(?:Bearer|Basic)\s+)([\w.~+/-]{16,}=*)")
# Names of what is secret whatever it looks like, and parts of those of what is if it looks so.
SURE = r"passw(?:or)?d|passphrase|\bpwd|_pwd|secret|api_?-?key|access_?-?key|private_?-?key"
SURE_NAME = re.compile(SURE, re.IGNORECASE)
_NAMED = "passw passphrase pwd secret key token credential auth signature salt"
NAMED = _NAMED.split()
ASSIGNED = re.compile(
    rf"""((?:{SURE})[\w-]*["'`]?\]?\s*(?::\s*[\w\[\]|. ]+?\s*)?(?:=>|:=|[=:])\s*[bfru]*)
    (?: (?P<quote>["'`])(?P<text>(?:\\.|(?!(?P=quote))[^\\\n])*)(?P=quote)
      | (?P<bare>[^\s"'`()\[\]{{}}<>,;$]{{6,}})(?=[\s,;]|$) )""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
LITERAL = re.compile(r"""(["'`])([\w+/=.~:-]{16,})\1""")
BARE = re.compile(r"(?<=[=:\s])[A-Za-z0-9+/_-]{20,}={0,2}(?=\s*$)", re.MULTILINE)


def is_private(path: str | PurePath) -> bool:
    """Whether a file is one of those that hold keys and credentials, by its name or a folder's.

    >>> [is_private(p) for p in ("a/.env.local", ".aws/config", "deploy/ID_RSA", "src/keys.py")]
    [True, True, True, False]
    """
    *folders, name = [part.lower() for part in PurePath(path).parts] or [""]
    return not FOLDERS.isdisjoint(folders) or any(fnmatchcase(name, p) for p in NAMES)


def is_private_folder(name: str) -> bool:
    return name.lower() in FOLDERS


def mask_secrets(text: str) -> str:
    """The text with what looks like a secret made `<masked>`; it keeps its lines.

    >>> mask_secrets('password = "hunter2"; name = "Ada"')
    'password = "<masked>"; name = "Ada"'
    """
    if "PRIVATE KEY" in text:
        text = BLOCK.sub(lambda m: m[1] + "\n" * m[2].count("\n"), text)
    if any(head in text for head in TOKEN_HEADS):
        text = TOKENS.sub(MASK, text)
    if "://" in text:
        text = IN_URL.sub(rf"\1{MASK}", text)
    if "Bearer" in text or "Basic" in text:
        text = BEARER.sub(rf"\1{MASK}", text)
    done, parts = 0, []
    for start, end in _naming_lines(text):
        parts += text[done:start], _masked_line(text[start:end])
        done = end
    return "".join((*parts, text[done:]))


def _naming_lines(text: str) -> Iterator[tuple[int, int]]:
    """Where the lines are that name what may be secret. Few do: the others are not looked at."""
    lowered = text.lower()
    if len(lowered) != len(text):  # some capitals have two small letters
        lowered = text.encode("ascii", "replace").decode().lower()
    there = {name: at for name in NAMED if (at := lowered.find(name)) >= 0}
    while there:
        at = min(there.values())
        start, end = lowered.rfind("\n", 0, at) + 1, lowered.find("\n", at)
        if end < 0:
            end = len(text)
        yield start, end
        found = {name: lowered.find(name, end) if n < end else n for name, n in there.items()}
        there = {name: n for name, n in found.items() if n >= 0}


def _masked_line(line: str) -> str:
    if SURE_NAME.search(line):
        line = ASSIGNED.sub(_masked_value, line)
    line = LITERAL.sub(lambda m: f"{m[1]}{MASK}{m[1]}" if is_random(m[2]) else m[0], line)
    return BARE.sub(lambda m: MASK if is_random(m[0]) else m[0], line)


def _masked_value(match: re.Match[str]) -> str:
    quote, text, bare = match["quote"], match["text"], match["bare"]
    if quote is None:
        mixed = any(c.isdigit() for c in bare) and any(c.isalpha() for c in bare)
        return f"{match[1]}{MASK}" if mixed and "." not in bare else match[0]
    shown = len(text) < 4 or text[0] in "{$%<"  # a blank, or the hole of a template
    return match[0] if shown else f"{match[1]}{quote}{MASK}{quote}"


def is_random(text: str) -> bool:
    """Whether a literal looks made by a machine: letters and digits in no order."""
    if not (any(c.isdigit() for c in text) and any(c.isalpha() for c in text)):
        return False
    shares = [n / len(text) for n in Counter(text).values()]
    # Hexadecimal has 4 bits at most; identifiers of 16 to 30 characters have about 3.
    return -sum(share * math.log2(share) for share in shares) >= 3.3
