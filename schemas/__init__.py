"""Message types of all topics, and error codes. Independent of Kafka and of platforms.

Front door of every plug-in.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schemas.audit import AuditRecord
    from schemas.codec import MalformedMessageError, Moment, decode, encode
    from schemas.errors import ClipmillError, Endpoint, ErrorCode, ErrorContext
    from schemas.events import (
        ExtractedVideo,
        Failure,
        PendingLink,
        SelectedVideo,
        ValidatedListing,
        ValidatedVideo,
    )
    from schemas.files import StoredFile
    from schemas.job import Attempt, Job
    from schemas.listing import Listing, ListingRef
    from schemas.request import Options, Request
    from schemas.results import Completed, Result
    from schemas.video import (
        Cookie,
        Extraction,
        MediaSource,
        SelectedSource,
        VideoFormat,
        VideoInfo,
        VideoRef,
    )

__all__ = [
    "Attempt",
    "AuditRecord",
    "ClipmillError",
    "Completed",
    "Cookie",
    "Endpoint",
    "ErrorCode",
    "ErrorContext",
    "ExtractedVideo",
    "Extraction",
    "Failure",
    "Job",
    "Listing",
    "ListingRef",
    "MalformedMessageError",
    "MediaSource",
    "Moment",
    "Options",
    "PendingLink",
    "Request",
    "Result",
    "SelectedSource",
    "SelectedVideo",
    "StoredFile",
    "ValidatedListing",
    "ValidatedVideo",
    "VideoFormat",
    "VideoInfo",
    "VideoRef",
    "decode",
    "encode",
]

_MODULES = {
    "schemas.audit": ("AuditRecord",),
    "schemas.codec": ("MalformedMessageError", "Moment", "decode", "encode"),
    "schemas.errors": ("ClipmillError", "Endpoint", "ErrorCode", "ErrorContext"),
    "schemas.events": (
        "ExtractedVideo",
        "Failure",
        "PendingLink",
        "SelectedVideo",
        "ValidatedListing",
        "ValidatedVideo",
    ),
    "schemas.files": ("StoredFile",),
    "schemas.job": ("Attempt", "Job"),
    "schemas.listing": ("Listing", "ListingRef"),
    "schemas.request": ("Options", "Request"),
    "schemas.results": ("Completed", "Result"),
    "schemas.video": (
        "Cookie",
        "Extraction",
        "MediaSource",
        "SelectedSource",
        "VideoFormat",
        "VideoInfo",
        "VideoRef",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name at its first use: every command of the CLI imports this package."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
