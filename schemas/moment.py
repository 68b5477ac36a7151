"""Points in time, as every message writes them."""

from datetime import datetime
from typing import Annotated

import msgspec

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A point in time with its zone, RFC 3339 in JSON."""
