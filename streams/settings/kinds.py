"""What settings are made of: a group refuses unknown names, and numbers have their bounds."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

HIGHEST_PORT = 65_535

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Wait = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
EgressName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]


class Group(BaseModel):
    """Settings that belong together: a table of ``clipmill.toml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
