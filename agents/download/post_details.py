"""What the paths of stored files may contain of a post. Pure."""

from agents.storage import PostDetails
from schemas.video import VideoInfo


def details_of(info: VideoInfo) -> PostDetails:
    """Return what a path may contain of a post."""
    author = info.author
    return PostDetails(
        author=author.name or author.display_name or author.id or "",
        author_id=author.id or "",
        title=info.title,
        published_at=info.published_at,
    )
