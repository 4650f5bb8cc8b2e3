"""What the configs of all jobs share."""

from pydantic import BaseModel, ConfigDict


class JobConfig(BaseModel):
    """A complete, frozen description of one job. Unknown keys are errors; field docstrings are the help texts."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
