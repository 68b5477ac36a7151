"""The index of stored files."""

from pathlib import Path

from msgspec.structs import replace

from agents.download.file_index import FILES_MAX, TABLE, StoredFileIndex, StoredFilesRow
from agents.storage.local import LocalStorage
from schemas.codec import decode
from schemas.files import StoredFile
from streams.topics import MESSAGE_BYTES_MAX
from tests.unit.agents.builders import make_context, make_settings, selected

LONG = StoredFile(
    uri=f"file:///{'%20' * 900}",
    bytes=2**40,
    sha256="0" * 64,
    mime_type="application/x-subrip",
    format_id="f" * 64,
    sidecar="subtitles",
    language="\u4e2d" * 64,
)


async def test_row_of_ever_new_files_fits_a_record(tmp_path: Path) -> None:
    context, _ = make_context(make_settings(), TABLE)
    async with LocalStorage.open(tmp_path) as storage:
        index, row = StoredFileIndex(storage, context), dict[str, StoredFile]()
        for number in range(12):
            new = {f"{'f' * 64}~subtitles~{number}-{each}.srt": LONG for each in range(100)}
            value = index.row_with(selected(), new, row, 0.0).value
            assert value is not None
            assert len(value) < MESSAGE_BYTES_MAX
            row = decode(value, StoredFilesRow).files
            assert new.keys() <= row.keys()
    assert len(row) == FILES_MAX


async def test_file_that_is_stored_again_is_among_the_newest(tmp_path: Path) -> None:
    context, _ = make_context(make_settings(), TABLE)
    async with LocalStorage.open(tmp_path) as storage:
        index, row = StoredFileIndex(storage, context), {str(n): LONG for n in range(FILES_MAX)}
        newer = replace(LONG, bytes=1)
        value = index.row_with(selected(), {"0": newer, "new": LONG}, row, 0.0).value
    assert value is not None
    files = decode(value, StoredFilesRow).files
    assert files["0"] == newer
    assert "1" not in files
