"""Does each operation of an object store once, below a hidden key, and removes what it wrote."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore

from agents.storage.object_connection import ObjectStoreSettings, connect
from agents.storage.object_errors import from_object_error
from agents.storage.object_upload import version_of
from agents.storage_check.open_uploads import check_upload_rule
from agents.storage_check.report import CheckResult, CheckState

PART_BYTES = 5 * 2**20
"""Smallest part of S3; two of them are an upload in parts."""

CONTENT = b"clipmill checks the storage"

NOT_CONDITIONAL = (
    "the store ignores conditions; of two workers that publish one file at the same time the last"
    " one remains"
)

StorageCheck = Callable[[ObjectStore, str], Awaitable[CheckState]]


async def check_object_store(settings: ObjectStoreSettings) -> list[CheckResult]:
    """Check a store; ends at the first failure.

    Raises:
        ClipmillError: ``system.config``; the settings cannot be used.
    """
    store, key = connect(settings), f".check-{secrets.token_hex(8)}/object"
    results: list[CheckResult] = []
    for name, check, warning in CHECKS:
        try:
            state = await check(store, key)
        except (BaseError, FileNotFoundError) as error:
            text = from_object_error(error, settings.url).message
            return [*results, CheckResult(name, CheckState.FAILED, text)]
        results.append(CheckResult(name, state, "" if state is CheckState.OK else warning))
    return [*results, await check_upload_rule(settings)]


async def _put(store: ObjectStore, key: str) -> CheckState:
    await obstore.put_async(store, key, CONTENT, mode="create", use_multipart=False)
    return CheckState.OK


async def _create_only(store: ObjectStore, key: str) -> CheckState:
    try:
        await obstore.put_async(store, key, CONTENT, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return CheckState.OK
    return CheckState.WARNING


async def _replace_only(store: ObjectStore, key: str) -> CheckState:
    seen = version_of(await obstore.head_async(store, key))
    await obstore.put_async(store, key, CONTENT + b" again", use_multipart=False)
    try:
        await obstore.put_async(store, key, CONTENT, mode=seen, use_multipart=False)
    except (PreconditionError, AlreadyExistsError):
        return CheckState.OK
    return CheckState.WARNING


async def _put_parts(store: ObjectStore, key: str) -> CheckState:
    async def parts() -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES)
        yield CONTENT

    await obstore.put_async(store, key, parts(), chunk_size=PART_BYTES)
    return CheckState.OK


async def _read(store: ObjectStore, key: str) -> CheckState:
    found = await obstore.get_async(store, key, options={"range": [PART_BYTES, PART_BYTES + 8]})
    content = bytes(await found.bytes_async())
    return CheckState.OK if content == CONTENT[:8] else CheckState.WARNING


async def _list(store: ObjectStore, key: str) -> CheckState:
    folder = key.rpartition("/")[0]
    listed = await obstore.list_with_delimiter_async(store, folder)
    return (
        CheckState.OK
        if [each["path"] for each in listed["objects"]] == [key]
        else CheckState.WARNING
    )


async def _delete(store: ObjectStore, key: str) -> CheckState:
    await obstore.delete_async(store, key)
    return CheckState.OK


CHECKS: tuple[tuple[str, StorageCheck, str], ...] = (
    ("put an object", _put, ""),
    ("create only", _create_only, NOT_CONDITIONAL),
    ("replace one version only", _replace_only, NOT_CONDITIONAL),
    ("put an object in parts", _put_parts, ""),
    ("read a range", _read, "it has other bytes than were written"),
    ("list a folder", _list, "it lists other objects; stored files are not found again"),
    ("delete", _delete, ""),
)
"""Name, check, and the text of its warning."""
