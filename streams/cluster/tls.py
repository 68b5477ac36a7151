"""TLS of Kafka connections: trusted roots, and a client certificate (mutual TLS) with rotation."""

import logging
import ssl
import threading
from pathlib import Path
from typing import Any

from streams.settings import KafkaSettings

log = logging.getLogger(__name__)

Versions = tuple[tuple[int, int], ...]
"""Inode and modification time of each certificate file."""


class TlsError(Exception):
    """A certificate file is unusable; the text names the setting."""


def ssl_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return the TLS context of a client's connections, None without TLS.

    Raises:
        TlsError: a file is missing or invalid.
    """
    if not kafka.security_protocol.endswith("SSL"):
        return None
    context = RotatingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = kafka.check_hostname
    context.load(kafka)
    return context


class RotatingContext(ssl.SSLContext):
    """A TLS context that reloads the client certificate when its files have changed.

    The files are checked when a connection is opened (one stat each). A pair that cannot be loaded,
    such as a half-written one, leaves the previous one in use and is loaded again at the next
    connection.
    """

    _kafka: KafkaSettings
    _versions: Versions | None

    def load(self, kafka: KafkaSettings) -> None:
        """Load the roots and the client certificate.

        Raises:
            TlsError: a file is missing or invalid.
        """
        self._kafka = kafka
        # Faust opens connections in two threads, and OpenSSL's contexts are not locked.
        self._lock = threading.Lock()
        self._load_roots(kafka.ca_file)
        self.has_certificate = kafka.cert_file is not None
        self._versions = _versions(kafka)
        if kafka.cert_file is not None:
            self._load_certificate()

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Open a connection's TLS; asyncio and uvloop call this."""
        with self._lock:
            self._reload_if_changed()
            return super().wrap_bio(*args, **kwargs)

    def _load_roots(self, ca_file: Path | None) -> None:
        if ca_file is None:
            self.load_default_certs(ssl.Purpose.SERVER_AUTH)
            return
        try:
            self.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise TlsError(f"kafka.ca_file {ca_file} cannot be used: {_reason(error)}") from None

    def _reload_if_changed(self) -> None:
        versions = _versions(self._kafka)
        if versions == self._versions:
            return
        try:
            self._load_certificate()
        except TlsError as error:
            log.warning("the previous client certificate stays in use: %s", error)
            return
        self._versions = versions
        log.info("kafka.cert_file %s was reloaded", self._kafka.cert_file)

    def _load_certificate(self) -> None:
        # A failed load may leave a new certificate with an old key: load a scratch context first.
        _load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._kafka)
        _load_chain(self, self._kafka)


def _load_chain(context: ssl.SSLContext, kafka: KafkaSettings) -> None:
    assert kafka.cert_file is not None
    password = _KeyPassword(kafka)
    try:
        context.load_cert_chain(kafka.cert_file, kafka.key_file, password)
    except _NoPasswordError:
        raise TlsError(f"{_key_file(kafka)} is encrypted: set kafka.key_password") from None
    except ssl.SSLError as error:
        raise TlsError(_explain(kafka, error, is_encrypted=password.was_asked)) from None
    except OSError as error:
        # OpenSSL does not report which of the two files it could not read.
        is_certificate = kafka.key_file is None or not _is_readable(kafka.cert_file)
        name = f"kafka.cert_file {kafka.cert_file}" if is_certificate else _key_file(kafka)
        raise TlsError(f"{name} cannot be used: {_reason(error)}") from None


class _NoPasswordError(Exception):
    """The key is encrypted, and no password is set."""


class _KeyPassword:
    """OpenSSL's password callback for the key; without one OpenSSL prompts on the terminal."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._password = kafka.key_password
        self.was_asked = False

    def __call__(self) -> str:
        self.was_asked = True
        if self._password is None:
            raise _NoPasswordError
        return self._password.get_secret_value()


def _explain(kafka: KafkaSettings, error: ssl.SSLError, *, is_encrypted: bool) -> str:
    certificate = f"kafka.cert_file {kafka.cert_file}"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{_key_file(kafka)} does not belong to the certificate in {certificate}"
    # For a wrong password OpenSSL reports "PEM lib" only, as for a damaged file.
    if is_encrypted:
        return f"kafka.key_password does not open {_key_file(kafka)}"
    if kafka.key_file is not None:
        return (
            f"{certificate} or {_key_file(kafka)} cannot be used: they must be PEM files with a "
            "certificate and its private key"
        )
    return (
        f"{certificate} cannot be used: it must be a PEM file with a certificate and its private "
        "key, or kafka.key_file must name the key"
    )


def _key_file(kafka: KafkaSettings) -> str:
    return f"kafka.key_file {kafka.key_file}" if kafka.key_file else f"the key in {kafka.cert_file}"


def _versions(kafka: KafkaSettings) -> Versions:
    return tuple(_version(path) for path in (kafka.cert_file, kafka.key_file) if path is not None)


def _version(path: Path) -> tuple[int, int]:
    """Return a value that changes with a file's content; symbolic links are followed."""
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_ino, stat.st_mtime_ns)


def _is_readable(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error)
