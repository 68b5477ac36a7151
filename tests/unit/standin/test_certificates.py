import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.standin.certificates import load_authority, server_context


def test_authority_is_kept_in_its_directory(tmp_path: Path) -> None:
    first, file = load_authority(tmp_path / "state")
    content = file.read_bytes()
    second, _ = load_authority(tmp_path / "state")

    assert first.cert_pem.bytes() == second.cert_pem.bytes() == content == file.read_bytes()
    assert first.private_key_pem.bytes() == second.private_key_pem.bytes()


def test_concurrent_loads_create_one_authority(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_authority(tmp_path)[0], range(8)))

    assert len({authority.cert_pem.bytes() for authority in made}) == 1


def test_other_directory_has_another_authority(tmp_path: Path) -> None:
    one, _ = load_authority(tmp_path / "one")
    two, _ = load_authority(tmp_path / "two")

    assert one.cert_pem.bytes() != two.cert_pem.bytes()


def test_private_key_is_in_a_private_file_only(tmp_path: Path) -> None:
    _, file = load_authority(tmp_path)

    assert b"PRIVATE KEY" not in file.read_bytes()
    assert (tmp_path / "authority.pem").stat().st_mode & 0o077 == 0
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "authority.pem"}


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Perform a TLS handshake in memory; return the client's end."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near


@pytest.mark.parametrize(
    "name",
    [
        "www.tiktok.com",
        "tiktok.com",
        "v16-webapp-prime.tiktok.com",
        "v19-webapp-prime.us.tiktok.com",
        "www.tiktokv.com",
        "v19.tiktokcdn.com",
        "v19.tiktokcdn-us.com",
    ],
)
def test_names_of_the_site_are_certified(tmp_path: Path, name: str) -> None:
    authority, file = load_authority(tmp_path)
    context = ssl.create_default_context(cafile=str(file))
    context.set_alpn_protocols(["h2", "http/1.1"])

    assert handshake(server_context(authority), context, name).selected_alpn_protocol() == (
        "http/1.1"
    )


def test_other_names_are_not_certified(tmp_path: Path) -> None:
    authority, file = load_authority(tmp_path)
    context = ssl.create_default_context(cafile=str(file))

    with pytest.raises(ssl.SSLCertVerificationError, match="example"):
        handshake(server_context(authority), context, "www.example.com")
