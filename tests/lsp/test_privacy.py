"""What is private by its name, and what is masked in a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_lsp.privacy import is_private, mask_secrets

RANDOM = "9f8a7b6c5d4e3f2a1b0c"
HIDDEN = [
    ("key = '%s'", "AKIA" + "ABCDEFGHIJKLMNOP"),
    ("%s", "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0hJ3lM6"),
    ("client = Client(%s)", "sk-ant-api03-" + "aB3dE6gH9jK2mN5pQ8s"),
    ('password = "%s"', "hunter2"),
    ('PASSWORD: str = "%s"', "correct horse"),
    ("$passwd = '%s';", "geheim!"),
    ('"api_key": "%s",', "abcdefgh"),
    ("{ apiKey: `%s` }", "abcdefgh"),
    ("export SECRET_KEY=%s", "abc123def456"),
    ("  password: %s", "s3cr3tpass"),
    ("url = 'postgres://me:%s@host/db'", "pw"),
    ('headers["Authorization"] = "Bearer %s"', "abcdefghij0123456789"),
    ('headers["X-Auth-Token"] = "%s"', RANDOM),
    ('login(token, "%s")', RANDOM),
    ("-----BEGIN RSA PRIVATE KEY-----\n%s\n-----END RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA"),
    ("-----BEGIN PRIVATE KEY-----\n%s", "MIIEpAIBAAKCAQEA\nMIIEpAIBAAKCAQEB"),
]
SHOWN = [
    "password = get_password()",
    'secret = os.environ["SECRET"]',
    'password = "${PASSWORD}"',
    'token = "identifier"',
    "tokens = tokenizer.encode(near)",
    "api_key: str | None = setting(None)",
    "self.secret = secret_of(user)",
    'name = "9f8a7b6c5d4e3f2a1b0c"',
    'key = "engine.kv_memory"',
]


@pytest.mark.parametrize(("line", "secret"), HIDDEN)
def test_a_secret_is_masked_and_the_code_around_it_stays(line: str, secret: str) -> None:
    text = f"before = 'İ'\n{line % secret}\nafter = 2\n"
    masked = mask_secrets(text)
    assert not any(part in masked for part in secret.split("\n"))
    assert masked.startswith("before = 'İ'\n" + line.partition("%s")[0])
    assert masked.endswith("\nafter = 2\n") or "BEGIN PRIVATE" in line
    assert masked.count("\n") == text.count("\n")


@pytest.mark.parametrize("line", SHOWN)
def test_code_that_names_secrets_is_not(line: str) -> None:
    assert mask_secrets(line) == line


LINES = st.sampled_from(
    [line % secret for line, secret in HIDDEN] + SHOWN + ["", "\r", "x\f", "İ'"]
)


@given(st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=8).map("\n".join))
def test_lines_stay_and_what_is_masked_is_so_for_good(text: str) -> None:
    masked = mask_secrets(text)
    assert masked.count("\n") == text.count("\n")
    assert mask_secrets(masked) == masked


PRIVATE = """
.env .env.production a/b/prod.env server.pem tls/private.key id_rsa id_ed25519.pub .aws/config
home/.ssh/config secrets/a.py deploy/Secrets/b.yaml credentials credentials.json .npmrc .netrc
config/secrets.yaml main.tfvars terraform.tfstate.backup app.keystore service-account-1.json
"""


@pytest.mark.parametrize("path", PRIVATE.split())
def test_private_paths(path: str) -> None:
    assert is_private(path)


@pytest.mark.parametrize("path", ["env.py", "keys.py", "src/secret_santa.py", "ssh/client.go", ""])
def test_other_paths(path: str) -> None:
    assert not is_private(path)
