"""References to single keys of ConfigMaps and Secrets, spelled as in a Pod."""

from typing import Annotated

from pydantic import Field, StringConstraints

from controller.api.types import Model, ResourceName

DataKey = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class SecretKeyRef(Model):
    """One key of a Secret in the same namespace."""

    name: ResourceName = Field(description="Name of the Secret.")
    key: DataKey = Field(description="Key in the Secret's data.")


class ConfigMapKeyRef(Model):
    """One key of a ConfigMap in the same namespace."""

    name: ResourceName = Field(description="Name of the ConfigMap.")
    key: DataKey = Field(description="Key in the ConfigMap's data.")
    optional: bool = Field(
        False,
        description="Take the parameter's default while there is no such ConfigMap or key. Needs a default. Default: false.",
    )
