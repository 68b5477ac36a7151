"""The `Storage` protocol on every implementation: one suite, run on real servers.

Files of 3 MB are uploaded by one request, those of 12 MB in parts.
"""

import asyncio
import hashlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
from obstore.store import MemoryStore

from agents.download.retention import record_requester, requesters_by_post
from agents.media.protocol import Answer, MediaFacts
from agents.storage import NO_DETAILS, FileGoneError, LocalStorage, PostDetails, Storage
from agents.storage.interface import RECORD_BYTES_MAX
from agents.storage.names import ADOPTED, FileIds, subtitles_id
from agents.storage.object_connection import ObjectStoreSettings
from agents.storage.object_store import ObjectStorage
from agents.storage.withheld_posts import find_withheld
from agents.storage.workspaces import Workspaces
from agents.storage_check.adoption.adopter import CandidateAdopter, Placement
from agents.storage_check.adoption.candidates import IdentifiedFile
from agents.storage_check.adoption.report import AdoptionState
from agents.storage_check.files_cli import FileState, verify_files
from agents.storage_check.removal import remove_posts
from schemas.errors import ClipmillError, ErrorCode
from schemas.path_template import parse_template
from schemas.subtitles import SubtitleFormat
from schemas.video import VideoRef
from tests.storage_servers import (
    StorageServer,
    azurite,
    create_azure_container,
    create_s3_bucket,
    running,
    seaweedfs,
)

NAMES: dict[str, Any] = {
    "platform": "tiktok",
    "video_id": "7608826249200356630",
    "format_id": "play",
}
SMALL, LARGE = 3 * 2**20, 12 * 2**20

KINDS = ["local", "memory", "s3", pytest.param("az", marks=pytest.mark.azure)]

_numbers = itertools.count()


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, StorageServer | None]]:
    """Kind of the store, and the server behind it."""
    kind, folder = request.param, tmp_path_factory.mktemp("server")
    if kind in ("local", "memory"):
        yield kind, None
        return
    found = seaweedfs(folder) if kind == "s3" else azurite(folder)
    async with running(found):
        if kind == "az":
            await asyncio.to_thread(create_azure_container, found, "clips")
        else:
            await create_s3_bucket(found, "clips")
        yield kind, found


@cache
def memory_of(_root: Path) -> MemoryStore:
    return MemoryStore()


@asynccontextmanager
async def open_storage(
    kind: str, server: StorageServer | None, root: Path, template: str | None = None
) -> AsyncIterator[Storage]:
    parsed = None if template is None else parse_template(template)
    settings = ObjectStoreSettings(
        url=f"{'s3' if server is None else kind}://clips/media/t{root.name}",
        endpoint=None if server is None else server.endpoint,
        region="eu-central-1",
        part_bytes=5 * 2**20,
        single_put_bytes=4 * 2**20,
    )
    async with AsyncExitStack() as stack:
        if kind == "local":
            yield await stack.enter_async_context(LocalStorage.open(root, parsed))
        elif kind == "memory":
            workspaces = await stack.enter_async_context(Workspaces.open(root / "tmp"))
            yield ObjectStorage(memory_of(root), settings, workspaces, parsed)
        else:
            yield await stack.enter_async_context(ObjectStorage.open(settings, root, parsed))


Reopen = Callable[[str | None], AbstractAsyncContextManager[Storage]]


@pytest.fixture
def reopen(
    server: tuple[str, StorageServer | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Reopen:
    """Open one store with a template, any number of times."""
    kind, process = server
    for name, value in (process.variables if process else {}).items():
        monkeypatch.setenv(name, value)
    root = tmp_path / str(next(_numbers))
    root.mkdir()
    return partial(open_storage, kind, process, root)


@pytest.fixture
async def storage(reopen: Reopen) -> AsyncIterator[Storage]:
    async with reopen(None) as storage:
        yield storage


async def publish(
    storage: Storage, content: bytes, details: PostDetails = NO_DETAILS, **changes: Any
) -> str:
    names = {**NAMES, "extension": "mp4", "sha256": hashlib.sha256(content).hexdigest()}
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        await storage.link_duplicate(path, (names | changes)["sha256"])
        return await storage.publish(path, **(names | changes), details=details)


async def content_of(storage: Storage, uri: str) -> bytes:
    async with storage.reading(uri) as path:
        assert path.suffix == Path(uri).suffix
        return path.read_bytes()


def random_bytes(size: int, seed: int = 0) -> bytes:
    return hashlib.shake_256(bytes([seed])).digest(1000) * (size // 1000 + 1)


@pytest.mark.parametrize("size", [1, SMALL, LARGE])
async def test_published_file_is_read_back(storage: Storage, size: int) -> None:
    content = random_bytes(size)
    uri = await publish(storage, content)
    assert uri.endswith("/tiktok/7608826249200356630/7608826249200356630.play.mp4")
    assert await storage.stat(uri) == len(content)
    assert await content_of(storage, uri) == content


async def test_published_file_is_found_by_its_names(storage: Storage) -> None:
    before = time.time()
    uri = await publish(storage, b"bytes")
    found = await storage.find(**NAMES)
    assert found is not None
    assert (found.uri, found.bytes) == (uri, 5)
    assert before - 2 <= found.published_at <= time.time() + 2
    assert await storage.find(**(NAMES | {"format_id": "other"})) is None
    assert await storage.find(**(NAMES | {"video_id": "1"})) is None


async def test_newest_file_of_any_extension_is_found(storage: Storage) -> None:
    await publish(storage, b"older")
    await asyncio.sleep(1.1)  # Object stores report whole seconds.
    uri = await publish(storage, b"newer one", extension="m4a")
    found = await storage.find(**NAMES)
    assert found is not None
    assert (found.uri, found.bytes) == (uri, 9)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_same_names_replace_the_file(storage: Storage, size: int) -> None:
    older, newer = random_bytes(size), random_bytes(size + 1000, seed=1)
    first = await publish(storage, older)
    assert await publish(storage, newer) == first
    assert await content_of(storage, first) == newer


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_same_file_is_published_once_more_without_a_change(
    storage: Storage, size: int
) -> None:
    content = random_bytes(size)
    first = await publish(storage, content)
    assert await publish(storage, content) == first
    assert await content_of(storage, first) == content


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_file_of_concurrent_workers_is_one_of_theirs(storage: Storage, size: int) -> None:
    contents = [random_bytes(size, seed) for seed in range(3)]
    uris = await asyncio.gather(*(publish(storage, each) for each in contents))
    assert len(set(uris)) == 1
    assert await content_of(storage, uris[0]) in contents


async def test_formats_of_a_video_are_separate_files(storage: Storage) -> None:
    uris = {await publish(storage, b"x", format_id=each) for each in ("a", "b", "a+b", "a/b")}
    assert len(uris) == 4
    assert [await storage.stat(uri) for uri in uris] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "changes",
    [{"platform": ".."}, {"video_id": "../../x"}, {"extension": "mp4/../../x"}, {"video_id": ""}],
)
async def test_unsafe_names_are_refused(changes: dict[str, Any], storage: Storage) -> None:
    with pytest.raises(ClipmillError) as caught:
        await publish(storage, b"x", **changes)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED


async def test_only_regular_files_are_published(storage: Storage, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch()
    async with storage.workspace() as directory:
        (directory / "part").symlink_to(secret)
        with pytest.raises(ClipmillError) as caught:
            await storage.publish(directory / "part", **NAMES, extension="mp4", sha256="")
    assert caught.value.code is ErrorCode.SYSTEM_STORAGE


async def test_foreign_uri_has_no_file(storage: Storage) -> None:
    uri = await publish(storage, b"x")
    scheme = uri.partition(":")[0]
    for foreign in (
        f"{uri}.gone",
        f"{uri}/below",
        f"{uri.rpartition('/')[0]}",
        f"{uri.rpartition('/')[0]}/../{uri.rpartition('/')[2]}/../other",
        uri.replace("clips", "other") if "clips" in uri else "file:///etc/hostname",
        uri.replace(f"{scheme}:", "https:"),
        "file:///etc/hostname",
        "",
    ):
        assert await storage.stat(foreign) is None, foreign
        with pytest.raises(FileGoneError):
            async with storage.reading(foreign):
                pass


async def test_workspace_is_private_and_removed_at_the_end(storage: Storage) -> None:
    async with storage.workspace() as one, storage.workspace() as two:
        assert one != two
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "half").touch()
    assert not one.exists()
    assert not two.exists()


async def test_probe_leaves_no_file_that_is_found(storage: Storage) -> None:
    await storage.probe()
    await storage.probe()
    assert await storage.find(**NAMES) is None
    assert await storage.free_bytes() > 0


async def test_all_published_files_are_listed_with_their_digests(storage: Storage) -> None:
    uris = {await publish(storage, b"bytes", format_id=each) for each in ("a", "b")}
    uris.add(await publish(storage, b"bytes", platform="streamable", video_id="x"))
    found = [each async for each in storage.files()]
    assert {each.uri for each in found} == uris
    assert {each.bytes for each in found} == {5}
    digest = hashlib.sha256(b"bytes").hexdigest()
    assert {await storage.digest(uri) for uri in uris} == {digest}
    assert await storage.digest(f"{uris.pop()}.gone") is None


async def test_verification_finds_a_file_that_is_not_what_was_published(storage: Storage) -> None:
    sound = await publish(storage, b"bytes")
    damaged = await publish(storage, b"bytez", format_id="b", sha256="00" * 32)
    states = {each.uri: each.state async for each in verify_files(storage)}
    assert states == {sound: FileState.OK, damaged: FileState.DAMAGED}


async def test_removed_file_is_gone_and_the_others_stay(storage: Storage) -> None:
    removed, kept = [await publish(storage, b"x", format_id=each) for each in ("a", "b")]
    for uri in (removed, removed, f"{kept}.other", "file:///etc/hostname", ""):
        await storage.remove(uri)
    assert [each.uri async for each in storage.files()] == [kept]
    assert await storage.stat(removed) is None


TEMPLATE = "{author}/{title:.40} [{platform} {id}].{format}.{ext}"
OTHER_TEMPLATE = "{title:.40} {platform} {id} {format}.{ext}"
CLIP = PostDetails(author="user", title="a/clip \U0001f600")
RETITLED = PostDetails(author="renamed", title="another title")


def path_in(uri: str) -> str:
    return unquote(uri) if uri.startswith("file:") else uri


@pytest.mark.parametrize("template", [None, TEMPLATE])
async def test_subtitles_are_found_by_language_and_format(
    reopen: Reopen, template: str | None
) -> None:
    others: tuple[tuple[str, SubtitleFormat, bool], ...] = (
        ("en", "vtt", False),
        ("en-US", "srt", False),
        ("en-US", "vtt", True),
    )
    async with reopen(template) as storage:
        wanted = subtitles_id("play", "en-US", "vtt", automatic=False)
        uri = await publish(storage, b"WEBVTT", CLIP, format_id=wanted, extension="vtt")
        assert path_in(uri).endswith(".play.en-US.vtt")
        found = await storage.find(**(NAMES | {"format_id": wanted}))
        assert found is not None
        assert (found.uri, found.bytes) == (uri, 6)
        for language, extension, automatic in others:
            other = subtitles_id("play", language, extension, automatic=automatic)
            assert await storage.find(**(NAMES | {"format_id": other})) is None
        assert await storage.find(**NAMES) is None


async def test_media_are_found_behind_many_subtitles(storage: Storage) -> None:
    for number in range(60):
        language = subtitles_id("play", f"en-{number:03}", "vtt", automatic=False)
        await publish(storage, b"WEBVTT", format_id=language, extension="vtt")
    uri = await publish(storage, b"media")
    found = await storage.find(**NAMES)
    assert found is not None
    assert found.uri == uri


async def test_file_of_a_template_is_found_and_read_back(reopen: Reopen) -> None:
    async with reopen(TEMPLATE) as storage:
        uri = await publish(storage, b"bytes", CLIP)
        name = "user/a\uff0fclip \U0001f600 [tiktok 7608826249200356630].play.mp4"
        assert path_in(uri).endswith(f"/{name}")
        assert await content_of(storage, uri) == b"bytes"
        found = await storage.find(**NAMES)
        assert found is not None
        assert (found.uri, found.bytes) == (uri, 5)
        assert await storage.find(**(NAMES | {"format_id": "pla"})) is None
        assert await storage.find(**(NAMES | {"video_id": "1"})) is None
        assert [each.uri async for each in storage.files()] == [uri]


async def test_files_of_a_retitled_post_stay_together(reopen: Reopen) -> None:
    async with reopen(TEMPLATE) as storage:
        first = await publish(storage, b"bytes", CLIP)
        assert await publish(storage, b"newer", RETITLED) == first
        assert await content_of(storage, first) == b"newer"
        other = await publish(storage, b"x", RETITLED, format_id="b")
        assert other == first.replace(".play.", ".b.")


@pytest.mark.parametrize("before", [None, TEMPLATE])
@pytest.mark.parametrize("after", [None, OTHER_TEMPLATE])
async def test_another_template_loses_no_file(
    before: str | None, after: str | None, reopen: Reopen
) -> None:
    async with reopen(before) as storage:
        uri = await publish(storage, b"bytes", CLIP)
    async with reopen(after) as storage:
        found = await storage.find(**NAMES)
        assert found is not None
        assert found.uri == uri
        assert await content_of(storage, uri) == b"bytes"
        other = await publish(storage, b"x", RETITLED, video_id="1")
        assert {each.uri async for each in storage.files()} == {uri, other}


async def test_newest_file_of_both_layouts_is_found(reopen: Reopen) -> None:
    async with reopen(None) as storage:
        await publish(storage, b"older")
    await asyncio.sleep(1.1)  # Object stores report whole seconds.
    async with reopen(OTHER_TEMPLATE) as storage:
        uri = await publish(storage, b"newer", CLIP)
        found = await storage.find(**NAMES)
    assert found is not None
    assert found.uri == uri


async def test_file_is_found_among_many_of_its_folder(reopen: Reopen) -> None:
    async with reopen("{author}/{id} {format} {platform}.{ext}") as storage:
        for number in range(60):
            await publish(storage, b"x", CLIP, video_id=str(number))
        uri = await publish(storage, b"bytes", CLIP, video_id="5", format_id="b")
        found = await storage.find(platform="tiktok", video_id="5", format_id="b")
    assert found is not None
    assert found.uri == uri


async def test_concurrent_files_of_a_new_post_are_found(reopen: Reopen) -> None:
    async with reopen(TEMPLATE) as storage:
        ids = [f"picture-{number}" for number in range(8)]
        uris = await asyncio.gather(*(publish(storage, b"x", CLIP, format_id=each) for each in ids))
        found = [await storage.find(**(NAMES | {"format_id": each})) for each in ids]
    assert [each.uri for each in found if each is not None] == uris


RECORD = PurePosixPath(".kept/tiktok/7.json")


async def test_record_is_read_back_replaced_and_removed(storage: Storage) -> None:
    records = storage.records
    assert await records.read(RECORD) is None
    assert [name async for name in records.names(".kept")] == []
    for content in (b"", b"older", b"newer"):
        await records.write(RECORD, content)
        assert await records.read(RECORD) == content
    await records.write(PurePosixPath(".kept/x/8.json"), b"x")
    assert {name async for name in records.names(".kept")} == {
        RECORD,
        PurePosixPath(".kept/x/8.json"),
    }
    assert [each async for each in storage.files()] == []
    for _ in range(2):
        await records.remove(RECORD)
    assert await records.read(RECORD) is None


async def test_oversized_record_is_none(storage: Storage) -> None:
    await storage.records.write(RECORD, bytes(RECORD_BYTES_MAX + 1))
    assert await storage.records.read(RECORD) is None


class VideoProbe:
    async def probe(self, path: Path) -> Answer:
        assert path.name == "adopted"
        return MediaFacts(container="mov", video_codec="h264", duration_seconds=1.0)


@pytest.mark.parametrize("placement", ["link", "copy", "move"])
async def test_adopted_file_is_stored_once(
    placement: Placement, storage: Storage, tmp_path: Path
) -> None:
    path, content = tmp_path / "clip [7].mp4", random_bytes(SMALL)
    adopter = CandidateAdopter(storage, VideoProbe(), placement=placement, keep_free_bytes=0)
    states = []
    for _ in range(2):
        path.write_bytes(content)
        candidate = IdentifiedFile(
            path=path,
            status=path.stat(),
            ids=FileIds("tiktok", "7", ADOPTED),
            details=NO_DETAILS,
        )
        states.append((await adopter.adopt(candidate, dry_run=False)).state)
        assert path.exists() is (placement != "move")
    assert states == [AdoptionState.ADOPTED, AdoptionState.STORED]
    (file,) = [each async for each in storage.files()]
    assert file.uri.endswith("/tiktok/7/7.adopted.mp4")
    assert await content_of(storage, file.uri) == content


@pytest.mark.parametrize("template", [None, TEMPLATE])
async def test_removed_post_is_withheld_and_the_others_stay(
    template: str | None, reopen: Reopen
) -> None:
    async with reopen(template) as storage:
        for format_id in ("a", "b"):
            await publish(storage, b"bytes", CLIP, format_id=format_id)
        kept = await publish(storage, b"bytes", CLIP, video_id="1")
        post = VideoRef(platform="tiktok", id=NAMES["video_id"], url="")
        for forget in (False, True):
            removed = await remove_posts(storage, [post], template, forget=forget, dry_run=False)
            assert [len(it.uris) for it in removed] == [0 if forget else 2]
            assert [each.uri async for each in storage.files()] == [kept]
            withheld = await find_withheld(storage.records, "tiktok", NAMES["video_id"])
            assert (withheld is None) is forget


async def test_file_expires_as_it_was_listed(storage: Storage) -> None:
    for format_id in ("a", "b"):
        await publish(storage, b"bytes", format_id=format_id)
    listed = {PurePosixPath(it.uri).name: it async for it in storage.files()}
    await asyncio.sleep(1.1)  # Object stores report whole seconds.
    newer = await publish(storage, b"newer", format_id="b")
    expired = [await storage.expire(listed[name]) for name in sorted(listed)]
    assert expired == [True, False]
    assert not await storage.expire(listed["7608826249200356630.a.mp4"])
    assert [each.uri async for each in storage.files()] == [newer]


async def test_requesters_of_posts_are_found(storage: Storage) -> None:
    for post, requester in (("7", "aa"), ("7", "bb"), ("8", "aa"), ("9", "cc"), ("7", "aa")):
        await record_requester(storage.records, requester, "tiktok", post)
    found = await requesters_by_post(storage.records, ["aa", "bb", "dd"])
    assert found == {"tiktok:7": ("aa", "bb"), "tiktok:8": ("aa",)}
    assert [each async for each in storage.files()] == []


async def test_same_bytes_of_two_posts_outlive_each_other(
    storage: Storage, server: tuple[str, StorageServer | None]
) -> None:
    content, digest = b"bytes", hashlib.sha256(b"bytes").hexdigest()
    await storage.restore_index()
    first = await publish(storage, content)
    async with storage.workspace() as directory:
        path = directory / "part"
        path.write_bytes(content)
        duplicate = await storage.link_duplicate(path, digest)
        assert duplicate == (first if server[0] == "local" else None)
        names = NAMES | {"video_id": "1", "extension": "mp4"}
        second = await storage.publish(path, **names, sha256=digest)
    contents = {each.content async for each in storage.files()}
    assert (contents == {None}) is (server[0] != "local")
    await storage.remove(first)
    assert await content_of(storage, second) == content
    assert await storage.digest(second) == digest
