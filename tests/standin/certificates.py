"""The stand-in's own authority, kept in its state directory, and a certificate for TikTok names."""

import os
import ssl
import tempfile
from pathlib import Path

import trustme

NAMES = (
    "tiktok.com",
    "*.tiktok.com",
    "*.us.tiktok.com",
    "tiktokv.com",
    "*.tiktokv.com",
    "*.us.tiktokv.com",
    "*.tiktokcdn.com",
    "*.tiktokcdn-us.com",
    "streamable.com",
    "*.streamable.com",
    "hitrecord.org",
    "*.hitrecord.org",
    "*.elsewhere.example",
)
_KEY_FILE = "authority.pem"
_CA_FILE = "ca.pem"


def load_authority(state_dir: Path) -> tuple[trustme.CA, Path]:
    """The authority of a state directory, made at the first call.

    Returns:
        The authority, and the file with its certificate alone, to be trusted by clients.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    kept = state_dir / _KEY_FILE
    if not kept.exists():
        _keep(trustme.CA(), kept)
    pem = kept.read_bytes()
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


def _keep(authority: trustme.CA, kept: Path) -> None:
    pem = authority.cert_pem.bytes() + authority.private_key_pem.bytes()
    written = _written_beside(kept, pem)
    try:
        # Fails when another process was first: then its authority is the one.
        os.link(written, kept)
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
