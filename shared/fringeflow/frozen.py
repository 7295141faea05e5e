"""The base of our values; here, so that who needs a value need not load what a project consists of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: immutable, with unknown members refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
