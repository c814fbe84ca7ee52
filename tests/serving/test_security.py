"""API keys and certificates: what the options take, what they refuse, and who is let in."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

import navit_edge as ne
from navit_edge.serve.errors import Code, ServeError
from navit_edge.serve.security import ApiKeys, Tls, read_keys, read_security

KEY = "0123456789abcdef0123456789abcdef"
OTHER = "another-key-of-a-second-client"
#: What a header can hold and a key may be.
PRINTABLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)


def written(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """server.pem, server.key; another pair in other.pem and other.key; ca.pem, which signed them."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    for name in ("server", "other"):
        pair = authority.issue_cert("localhost", "127.0.0.1")
        written(folder / f"{name}.pem", b"".join(blob.bytes() for blob in pair.cert_chain_pems), 0o644)
        written(folder / f"{name}.key", pair.private_key_pem.bytes())
    return folder


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", f"Bearer {KEY}"),
        ("Authorization", f"bearer  {KEY} "),
        ("x-api-key", KEY),
        (b"X-API-Key", OTHER.encode()),
    ],
)
def test_any_of_the_keys_lets_in_by_either_header(tmp_path: Path, header: tuple[str | bytes, str | bytes]) -> None:
    keys = read_keys(written(tmp_path / "keys", f"# clients\n{KEY}\n\n  {OTHER}\r\n"))
    assert len(keys) == 2
    assert keys.allow([("accept", "*/*"), header])


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", KEY)],
        [("authorization", f"Basic {KEY}")],
        [("authorization", "Bearer ")],
        [("x-api-key", KEY[:-1])],
        [("x-api-key", KEY + "0")],
        [("x-api-key", "")],
        [("x-api-key", "\udcff" + KEY)],
        [("x-api-key", b"\xff\x00")],
        [("cookie", KEY)],
    ],
)
def test_nothing_else_lets_in(headers: list[tuple[str | bytes, str | bytes]]) -> None:
    assert not ApiKeys([KEY]).allow(headers)


@given(st.text(PRINTABLE, min_size=16, max_size=64), st.binary(max_size=80))
def test_only_the_bytes_of_a_key_are_that_key(key: str, tried: bytes) -> None:
    keys = ApiKeys([key])
    assert keys.allow([("x-api-key", key)])
    assert keys.allow([("x-api-key", tried)]) == (tried.strip() == key.encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no key"),
        ("# only a comment\n\n", "has no key"),
        (f"{KEY}\nshort\n", "line 2 .* has 5 characters"),
        ("x" * 513, "line 1 .* has 513 characters"),
        (f"{KEY} {OTHER}", "line 1 .* a space"),
        ("é" * 20, "not ASCII"),
        (b"\xff" * 20, "not ASCII"),
    ],
)
def test_a_file_of_keys_that_says_something_else_is_refused_without_telling_it(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    with pytest.raises(ne.InvalidInputError, match=said) as refused:
        read_keys(written(tmp_path / "keys", content))
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("mode", "said"),
    [(0o644, "other users may read"), (0o604, "other users may read"), (0o620, "its group may write")],
)
def test_a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path, mode: int, said: str
) -> None:
    keys = written(tmp_path / "keys", KEY, mode)
    with pytest.raises(ne.InvalidInputError, match=rf"{said}.*mode {mode:04o}.*chmod 600"):
        read_keys(keys)
    keys.chmod(0o440)  # as Kubernetes mounts a secret for a group
    assert len(read_keys(keys)) == 1


def test_what_is_no_file_is_refused_and_a_link_is_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, said in (("none", "No such file"), (".", "is a folder"), ("pipe", "is a pipe")):
        with pytest.raises(ne.InvalidInputError, match=f"--api-key-file.*{said}"):
            read_keys(tmp_path / name)
    (tmp_path / "link").symlink_to(written(tmp_path / "keys", KEY))
    assert len(read_keys(tmp_path / "link")) == 1
    with pytest.raises(ne.InvalidInputError, match="is it the right one"):
        read_keys(written(tmp_path / "large", b"k" * (2 << 20)))


def test_a_pair_of_certificate_and_key_makes_a_context_of_tls_1_2_and_later(certificates: Path) -> None:
    pair = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    security = read_security(**pair)
    assert security.tls == Tls(certificate=pair["tls_cert"], key=pair["tls_key"])
    context = security.tls.context()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    mutual = read_security(**pair, tls_client_ca=certificates / "ca.pem").tls
    assert mutual is not None
    assert mutual.context().verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("cert", "key", "client_ca", "said"),
    [
        ("server.pem", None, None, "--tls-cert is given without --tls-key"),
        (None, "server.key", None, "--tls-key is given without --tls-cert"),
        (None, None, "ca.pem", "--tls-client-ca is given without"),
        ("server.pem", "other.key", None, "are no pair"),
        ("server.key", "server.pem", None, "--tls-key: other users may read"),
        ("garbage", "server.key", None, "are no pair"),
        ("server.pem", "server.key", "garbage", "--tls-client-ca: .* holds no certificates"),
        ("none.pem", "server.key", None, "--tls-cert: .* No such file"),
        ("server.pem", "protected.key", None, "protected by a password"),
    ],
)
def test_options_of_tls_that_do_not_fit_are_refused(
    certificates: Path, cert: str | None, key: str | None, client_ca: str | None, said: str
) -> None:
    from cryptography.hazmat.primitives import serialization

    written(certificates / "garbage", "no certificate\n", 0o644)
    plain = serialization.load_pem_private_key((certificates / "server.key").read_bytes(), None)
    protected = plain.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )
    written(certificates / "protected.key", protected)
    given = [None if name is None else certificates / name for name in (cert, key, client_ca)]
    with pytest.raises(ne.InvalidInputError, match=said):
        read_security(tls_cert=given[0], tls_key=given[1], tls_client_ca=given[2])


def test_without_options_everybody_may_ask() -> None:
    security = read_security()
    assert security.keys is None
    assert security.tls is None
    assert not security.restricted
    security.check([])


def test_with_keys_who_has_none_is_told_how_to_send_one(tmp_path: Path) -> None:
    security = read_security(api_key_file=written(tmp_path / "keys", KEY))
    assert security.restricted
    security.check([("x-api-key", KEY)])
    with pytest.raises(ServeError, match="Authorization: Bearer KEY") as refused:
        security.check([("x-api-key", OTHER)])
    assert refused.value.code is Code.UNAUTHORIZED
