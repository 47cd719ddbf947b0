"""The tunnel for programs without TLS: which of the server's first messages it changes."""

from __future__ import annotations

from weaver.walle.embedded.tls_tunnel import without_channel_binding


def sasl(*methods: bytes) -> bytes:
    body = b"\x00\x00\x00\x0a" + b"".join(method + b"\0" for method in methods) + b"\0"
    return b"R" + (len(body) + 4).to_bytes(4, "big") + body


def test_only_the_offer_of_the_bound_login_method_is_changed() -> None:
    assert without_channel_binding(sasl(b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-256")) == sasl(b"SCRAM-SHA-256")
    for message in (sasl(b"SCRAM-SHA-256"), b"R\x00\x00\x00\x08\x00\x00\x00\x00", b"E\x00\x00\x00\x05\x00"):
        assert without_channel_binding(message) == message
