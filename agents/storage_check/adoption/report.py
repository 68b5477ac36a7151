"""Report of an adoption."""

from enum import StrEnum

import msgspec


class AdoptionState(StrEnum):
    """Outcome of a file, or of an entry of a download archive."""

    ADOPTED = "adopted"
    STORED = "stored"
    KNOWN = "known"
    REFUSED = "refused"


class AdoptionResult(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a file or entry.

    Attributes:
        path: of the file, or the entry of the archive.
        state: ``adopted`` now, ``stored`` already, ``refused``; or ``known``: an entry of the
            archive whose post has no file and is not downloaded.
        reason: of a refusal.
        uri: of the stored file; None in a dry run.
        video_key: of the post.
        bytes: size of the file.
    """

    path: str
    state: AdoptionState
    reason: str | None = None
    uri: str | None = None
    video_key: str | None = None
    bytes: int = 0


class RefusedError(Exception):
    """A file is not adopted; the text is the reason."""
