"""Trusted root certificates: certifi's, and those of an additional file."""

import os
import ssl
import tempfile
from pathlib import Path

import certifi

from agents.network.egress import Egress
from schemas.errors import ClipmillError, ErrorCode

_MARKER = b"-----BEGIN CERTIFICATE-----"


def client_context(egress: Egress) -> ssl.SSLContext:
    """Return a verifying TLS context: certifi's roots and those of ``egress.ca_file``.

    Takes about 10 ms: create it once per client, not per connection.

    Raises:
        ClipmillError: ``system.config``; the file cannot be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    if egress.ca_file is not None:
        _load(context, egress.ca_file)
    return context


def write_ca_bundle(egress_ca_file: Path, target: Path) -> Path:
    """Write certifi's roots and the additional ones to one PEM file, atomically.

    libcurl and requests accept a single file, which replaces their own roots.

    Raises:
        ClipmillError: ``system.config``; a file cannot be read or written, or holds no
            certificate.
    """
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), egress_ca_file)
    default_roots = Path(certifi.where()).read_bytes()
    try:
        _replace(target, default_roots.rstrip() + b"\n\n" + egress_ca_file.read_bytes())
    except OSError as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"cannot write the bundle of trusted roots to {target}: {error.strerror};"
            " make its directory writable",
        ) from None
    return target


def _load(context: ssl.SSLContext, ca_file: Path) -> None:
    try:
        if _MARKER not in ca_file.read_bytes():
            raise ssl.SSLError(0, "it holds no PEM certificate")
        context.load_verify_locations(cafile=ca_file)
    except OSError as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"cannot trust the roots in {ca_file}: {error.strerror or error};"
            " name a readable PEM file with certificates, or remove the setting",
        ) from None


def _replace(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink()
        raise
