"""Settings of the history of requests."""

from pydantic import Field

from streams.settings.kinds import Count, Group


class HistorySettings(Group):
    """The history of requests in `data_dir`, which `clipmill requests` reads."""

    requests: Count = Field(200_000, description="Maximum number of requests, 1 KB each.")
    days: Count = Field(
        7, description="Days for which a request is kept; the topics keep their records for 7."
    )
