"""The stand-in's own CA, kept in its state directory, and a certificate for TikTok names."""

import os
import ssl
import tempfile
from pathlib import Path

import trustme

from tests.standin.other_sites import DOMAINS

NAMES = (
    "tiktok.com",
    "*.tiktok.com",
    "*.us.tiktok.com",
    "tiktokv.com",
    "*.tiktokv.com",
    "*.us.tiktokv.com",
    "*.tiktokcdn.com",
    "*.tiktokcdn-us.com",
    *(name for domain in DOMAINS for name in (domain, f"*.{domain}")),
)
_KEY_FILE = "authority.pem"
_CA_FILE = "ca.pem"


def load_authority(state_dir: Path) -> tuple[trustme.CA, Path]:
    """The CA of a state directory, created at the first call.

    Returns:
        The CA, and the file with its certificate alone, to be trusted by clients.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    key_file = state_dir / _KEY_FILE
    if not key_file.exists():
        _store(trustme.CA(), key_file)
    pem = key_file.read_bytes()
    authority = trustme.CA.from_pem(pem, pem)
    ca_file = state_dir / _CA_FILE
    _replace(ca_file, authority.cert_pem.bytes())
    return authority, ca_file


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """A TLS server context with a fresh certificate for all the names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*NAMES).configure_cert(context)
    return context


def _store(authority: trustme.CA, key_file: Path) -> None:
    pem = authority.cert_pem.bytes() + authority.private_key_pem.bytes()
    written = _written_beside(key_file, pem)
    try:
        # Fails when another process was first: then its CA is used.
        os.link(written, key_file)
    except FileExistsError:
        pass
    finally:
        written.unlink()


def _replace(path: Path, content: bytes) -> None:
    _written_beside(path, content).replace(path)


def _written_beside(path: Path, content: bytes) -> Path:
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    return Path(file.name)
