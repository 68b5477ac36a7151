"""Chooses the stored files to remove by their age and by the bytes of all of them. Pure."""

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Literal, get_args

import msgspec

from agents.storage.interface import PublishedFile

Cause = Literal["age", "bytes"]

RetentionScope = tuple[str, str]
"""Files with a limit of their own: a kind, and the name of a platform or requester."""

ALL: RetentionScope = ("all", "")


CAUSES: tuple[Cause, ...] = get_args(Cause)


class RetentionLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of some files.

    Attributes:
        seconds: age from which a file is removed; None: any age is kept.
        bytes: the oldest are removed until no more remain; None: any size is kept.
    """

    seconds: float | None = None
    bytes: int | None = None


class RetentionRules(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of all files, and of some.

    The age of a file is limited by its most specific rule that has one: of requesters, of which the
    longest applies, then of the platform, then of all files. The bytes of each group are limited by
    its own.

    Attributes:
        all: of all files.
        platforms: of the files of a platform.
        requesters: of the files of posts that a requester has requested.
    """

    all: RetentionLimit = RetentionLimit()
    platforms: Mapping[str, RetentionLimit] = {}
    requesters: Mapping[str, RetentionLimit] = {}

    def seconds_of(self, platform: str | None, requesters: Iterable[str]) -> float:
        named = [self.requesters[each].seconds for each in requesters if each in self.requesters]
        known = [each for each in named if each is not None]
        if known:
            return max(known)
        general = self.platforms.get(platform or "", RetentionLimit()).seconds
        general = self.all.seconds if general is None else general
        return math.inf if general is None else general

    def scopes_of(self, platform: str | None, requesters: Iterable[str]) -> list[RetentionScope]:
        """Return the groups of a file that have a limit of bytes."""
        scopes = [ALL, ("platform", platform or ""), *(("requester", it) for it in requesters)]
        return [scope for scope in scopes if self.bytes_of(scope) is not None]

    def bytes_of(self, scope: RetentionScope) -> int | None:
        kind, name = scope
        limits = {"platform": self.platforms, "requester": self.requesters}.get(kind)
        limit = self.all if limits is None else limits.get(name)
        return None if limit is None else limit.bytes


class Removal(msgspec.Struct, frozen=True):
    """A file to remove, and why."""

    file: PublishedFile
    cause: Cause


class _Stored(msgspec.Struct, frozen=True):
    """A file with its groups; files are ordered by age."""

    file: PublishedFile
    scopes: tuple[RetentionScope, ...]

    @property
    def order(self) -> tuple[float, str]:
        return self.file.published_at, self.file.uri


class RetentionPlan:
    """Reads the stored files one after the other, and then names those to remove.

    Keeps the oldest files only, `files_max` for each limit, so any number of files can be read.

    Args:
        rules: the limits.
        now: epoch seconds.
        protected_since: files that were published later are not removed.
        files_max: removals at most.
    """

    def __init__(
        self,
        rules: RetentionRules,
        now: float,
        *,
        protected_since: float = math.inf,
        files_max: int | None = None,
    ) -> None:
        self.files = 0
        self.bytes = 0
        self._rules = rules
        self._now = now
        self._protected_since = protected_since
        self._files_max = files_max
        self._bytes: Counter[RetentionScope] = Counter()
        self._names: Counter[tuple[RetentionScope, str]] = Counter()
        self._expired = _Oldest(files_max)
        self._oldest: dict[RetentionScope, _Oldest] = defaultdict(lambda: _Oldest(files_max))

    def add(
        self, file: PublishedFile, platform: str | None = None, requesters: Iterable[str] = ()
    ) -> None:
        """Add a stored file; the platform is None for a foreign path."""
        named = tuple(requesters)
        scopes = tuple(self._rules.scopes_of(platform, named))
        stored = _Stored(file, scopes)
        self.files += 1
        self.bytes += file.bytes
        for scope in scopes:
            self._bytes[scope] += self._count(scope, file, 1)
        if file.published_at > self._protected_since:
            return
        if self._now - file.published_at > self._rules.seconds_of(platform, named):
            self._expired.add(stored)
        for scope in scopes:
            self._oldest[scope].add(stored)

    def removals(self) -> list[Removal]:
        """Return the files to remove: those that are too old, then the oldest beyond a size."""
        removals: dict[str, Removal] = {}
        for stored in self._expired.in_order():
            self._remove(stored, "age", removals)
        for scope, oldest in self._oldest.items():
            for stored in oldest.in_order():
                if self._bytes[scope] <= (self._rules.bytes_of(scope) or 0):
                    break
                if stored.file.uri not in removals:
                    self._remove(stored, "bytes", removals)
        return list(removals.values())[: self._files_max]

    def _remove(self, stored: _Stored, cause: Cause, removals: dict[str, Removal]) -> None:
        removals[stored.file.uri] = Removal(stored.file, cause)
        for scope in stored.scopes:
            self._bytes[scope] -= self._count(scope, stored.file, -1)

    def _count(self, scope: RetentionScope, file: PublishedFile, names: int) -> int:
        """Count a name of a file; return the bytes that the first takes and the last frees."""
        if file.content is None:
            return file.bytes
        key = scope, file.content
        before = self._names[key]
        self._names[key] += names
        return file.bytes if 0 in (before, self._names[key]) else 0


class _Oldest:
    """The oldest of the files that are added."""

    def __init__(self, files_max: int | None) -> None:
        self._files_max = files_max
        self._heap: list[tuple[float, int, _Stored]] = []
        self._added = count()

    def add(self, stored: _Stored) -> None:
        entry = (-stored.file.published_at, next(self._added), stored)
        if self._files_max is None or len(self._heap) < self._files_max:
            heapq.heappush(self._heap, entry)
        else:
            heapq.heappushpop(self._heap, entry)

    def in_order(self) -> list[_Stored]:
        return sorted((stored for _, _, stored in self._heap), key=lambda each: each.order)
