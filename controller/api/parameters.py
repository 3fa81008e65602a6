"""Parameters: values that a DAG or a job template takes from outside."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from typing_extensions import override

from controller.api.references import ConfigMapKeyRef, SecretKeyRef
from controller.api.types import AnyValue, Description, Identifier, Model


class ParameterType(StrEnum):
    """The JSON type that a parameter's value must have."""

    STRING = "string"
    NUMBER = "number"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    ARRAY = "array"
    OBJECT = "object"


class Parameter(Model):
    """A value that the DAG or a job template takes from outside."""

    name: Identifier = Field(description="Name of the parameter, as expressions use it.")
    description: Description | None = Field(None, description="What the parameter is for.")
    type: ParameterType = Field(ParameterType.STRING, description="JSON type of the value. Default: string.")
    default: AnyValue = Field(None, description="Value when none is given. Without it a value is required.")
    enum: Annotated[list[AnyValue], Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="The values that are allowed, all of the parameter's type. Default: any.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )

    @property
    def has_default(self) -> bool:
        """Tell a default of null from no default at all."""
        return "default" in self.model_fields_set

    @property
    def needs_argument(self) -> bool:
        """Tell whether there is no value unless one is given."""
        return not self.has_default


class ValueSource(Model):
    """Where a parameter's value is kept. Exactly one of the two."""

    config_map_key_ref: ConfigMapKeyRef | None = Field(
        None,
        description="A key of a ConfigMap. It is read when the run starts and stays the same for the whole run, as "
        "status.parameters shows it. The value of a parameter that is no string is written as JSON.",
    )
    secret_key_ref: SecretKeyRef | None = Field(
        None,
        description="A key of a Secret, for a parameter of type string. Expressions may only pass it on into Env of a job's "
        "task; it is read anew for each job, right before that is submitted. It appears in no status, Event or log of "
        "the operator. But Bacalhau keeps Env with the job, and shows it to everybody who may read jobs there.",
    )


class DAGParameter(Parameter):
    """A value that the DAG takes from outside, given in spec.arguments or kept in a ConfigMap or Secret."""

    value_from: ValueSource | None = Field(
        None,
        description="Where the value is kept. One in spec.arguments takes the place of a ConfigMap's; a Secret's cannot be "
        "given there.",
    )

    @property
    @override
    def needs_argument(self) -> bool:
        return super().needs_argument and self.value_from is None

    @property
    def secret(self) -> SecretKeyRef | None:
        """The Secret that holds the value, if one does."""
        return self.value_from.secret_key_ref if self.value_from else None

    @property
    def config_map(self) -> ConfigMapKeyRef | None:
        """The ConfigMap that holds the value, if one does."""
        return self.value_from.config_map_key_ref if self.value_from else None
