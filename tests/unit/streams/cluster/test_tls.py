import logging
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from streams.cluster.tls import RotatingContext, TlsError, ssl_context
from streams.settings import KafkaSettings

PASSWORD = "key secret of tests"


class CertificateFolder:
    """A certificate authority, and a client certificate that can be reissued."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        self._second = int(datetime.now(UTC).timestamp())
        self.issue("first")

    def issue(self, name: str, password: str | None = None) -> None:
        leaf = self.authority.issue_cert(f"{name}.example", common_name=name)
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password.encode())
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        self.write(self.cert, leaf.cert_chain_pems[0].bytes())
        self.write(self.key, key.private_bytes(pem, form, encryption))

    def write(self, path: Path, data: bytes) -> None:
        """Write a file with a distinct modification time."""
        path.write_bytes(data)
        self._second += 1
        os.utime(path, (self._second, self._second))

    def settings(self, **more: object) -> KafkaSettings:
        return KafkaSettings.model_validate(
            {
                "security_protocol": "SSL",
                "ca_file": self.ca,
                "cert_file": self.cert,
                "key_file": self.key,
                **more,
            }
        )


@pytest.fixture
def files(tmp_path: Path) -> CertificateFolder:
    return CertificateFolder(tmp_path)


def presented_name(context: ssl.SSLContext, authority: trustme.CA) -> str:
    """Return the common name that a server sees in a handshake with this client."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    authority.configure_trust(server_context)
    server_context.verify_mode = ssl.CERT_REQUIRED
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(down, up, server_hostname="localhost")
    server = server_context.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    seen = server.getpeercert(binary_form=True)
    assert seen is not None
    subject = x509.load_der_x509_certificate(seen).subject
    return str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def test_no_context_without_tls() -> None:
    assert ssl_context(KafkaSettings()) is None


def test_client_certificate_is_presented(files: CertificateFolder) -> None:
    context = ssl_context(files.settings())
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert presented_name(context, files.authority) == "first"


def test_one_file_may_hold_certificate_and_key(files: CertificateFolder) -> None:
    files.write(files.cert, files.cert.read_bytes() + files.key.read_bytes())
    context = ssl_context(files.settings(key_file=None))
    assert context is not None
    assert presented_name(context, files.authority) == "first"


def test_encrypted_key_is_decrypted(files: CertificateFolder) -> None:
    files.issue("locked", PASSWORD)
    context = ssl_context(files.settings(key_password=PASSWORD))
    assert context is not None
    assert presented_name(context, files.authority) == "locked"


def test_host_name_check_can_be_disabled(files: CertificateFolder) -> None:
    context = ssl_context(files.settings(check_hostname=False))
    assert context is not None
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_renewed_certificate_is_presented_by_the_next_connection(files: CertificateFolder) -> None:
    context = ssl_context(files.settings())
    assert context is not None
    assert presented_name(context, files.authority) == "first"
    files.issue("second")
    assert presented_name(context, files.authority) == "second"


def test_partially_renewed_certificate_keeps_the_old_one(
    files: CertificateFolder, caplog: pytest.LogCaptureFixture
) -> None:
    context = ssl_context(files.settings())
    assert context is not None
    old_key = files.key.read_bytes()
    files.issue("second")
    new_key = files.key.read_bytes()
    files.write(files.key, old_key)
    with caplog.at_level(logging.WARNING):
        assert presented_name(context, files.authority) == "first"
    assert "the previous client certificate stays in use" in caplog.text
    files.write(files.key, new_key)
    assert presented_name(context, files.authority) == "second"


def test_unchanged_files_are_not_reloaded(
    files: CertificateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl_context(files.settings())
    assert isinstance(context, RotatingContext)
    loads: list[object] = []
    monkeypatch.setattr(context, "load_cert_chain", lambda *given: loads.append(given))
    presented_name(context, files.authority)
    assert loads == []


BROKEN = {
    "CA file missing": (
        {"ca_file": "nowhere.pem"},
        r"kafka\.ca_file nowhere\.pem cannot be used",
    ),
    "certificate missing": (
        {"cert_file": "nowhere.pem"},
        r"kafka\.cert_file nowhere\.pem cannot be used: No such file",
    ),
    "key missing": (
        {"key_file": "nowhere.pem"},
        r"kafka\.key_file nowhere\.pem cannot be used: No such file",
    ),
    "key not in the certificate file": (
        {"key_file": None},
        r"kafka\.cert_file .* or kafka\.key_file must name the key",
    ),
}


@pytest.mark.parametrize(("changes", "text"), BROKEN.values(), ids=BROKEN)
def test_unusable_file_raises_with_its_setting(
    files: CertificateFolder, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(TlsError, match=text):
        ssl_context(files.settings(**changes))


def test_ca_file_without_certificate_raises(files: CertificateFolder) -> None:
    files.write(files.ca, b"no certificate")
    with pytest.raises(TlsError, match=r"kafka\.ca_file .*ca\.pem cannot be used"):
        ssl_context(files.settings())


def test_key_of_another_certificate_raises(files: CertificateFolder) -> None:
    key = files.key.read_bytes()
    files.issue("second")
    files.write(files.key, key)
    with pytest.raises(TlsError, match=r"key\.pem does not belong to the certificate"):
        ssl_context(files.settings())


def test_encrypted_key_without_password_raises_with_the_setting(files: CertificateFolder) -> None:
    files.issue("locked", PASSWORD)
    with pytest.raises(TlsError, match=r"key\.pem is encrypted: set kafka\.key_password"):
        ssl_context(files.settings())


def test_wrong_key_password_raises_without_showing_it(files: CertificateFolder) -> None:
    files.issue("locked", PASSWORD)
    with pytest.raises(TlsError, match=r"kafka\.key_password does not open") as caught:
        ssl_context(files.settings(key_password="wrong one"))
    assert "wrong one" not in str(caught.value)
