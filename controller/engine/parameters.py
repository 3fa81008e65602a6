"""Parameters and the values given for them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.api.dag import Parameter, ParameterType
from controller.engine.expressions import has_expression
from controller.engine.problems import Problem, shown, unknown

_PYTHON_TYPES: dict[ParameterType, tuple[type, ...]] = {
    ParameterType.STRING: (str,),
    ParameterType.NUMBER: (int, float),
    ParameterType.INTEGER: (int,),
    ParameterType.BOOLEAN: (bool,),
    ParameterType.ARRAY: (list,),
    ParameterType.OBJECT: (dict,),
}


def has_type(value: Any, expected: ParameterType) -> bool:
    """Tell whether a JSON value is of the type that a parameter declares. A boolean is not a number."""
    if isinstance(value, bool) and expected is not ParameterType.BOOLEAN:
        return False
    return isinstance(value, _PYTHON_TYPES[expected])


def bound(parameters: Sequence[Parameter], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give each parameter its argument, or else its default."""
    defaults = {parameter.name: parameter.default for parameter in parameters if parameter.has_default}
    return defaults | dict(arguments)


def argument_problems(
    parameters: Sequence[Parameter],
    arguments: Mapping[str, Any],
    *,
    field: str,
    owner: str,
    evaluated: bool = False,
) -> Iterator[Problem]:
    """Find arguments for no parameter, parameters without value, and values of the wrong type.

    Where arguments are ``evaluated``, a text with an expression may stand for any type; it is checked again when it has a value.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    for name in sorted(arguments.keys() - declared.keys()):
        yield unknown(f"{field}.{name}", name, f"a parameter of {owner}", declared)
    for name, parameter in declared.items():
        if name not in arguments and not parameter.has_default:
            yield Problem(
                f"{field}.{name}", f'the parameter "{name}" of {owner} needs a value, or a default.'
            )
        elif name in arguments and not (evaluated and has_expression(arguments[name])):
            yield from type_problems(parameter, arguments[name], field=f"{field}.{name}")


def default_problems(parameters: Sequence[Parameter], *, field: str) -> Iterator[Problem]:
    """Find defaults of another type than their parameter declares."""
    for index, parameter in enumerate(parameters):
        if parameter.has_default:
            yield from type_problems(parameter, parameter.default, field=f"{field}[{index}].default")


def type_problems(parameter: Parameter, value: Any, *, field: str) -> Iterator[Problem]:
    """Say that a value has another type than its parameter declares."""
    if not has_type(value, parameter.type):
        yield Problem(field, f"{shown(value)} is not of type {parameter.type.value}.")


def duplicate_problems(names: Sequence[str], *, field: str) -> Iterator[Problem]:
    """Find names that stand twice in a list that is keyed by name."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Problem(f"{field}[{index}].name", f'"{name}" is already the name of another item.')
        seen.add(name)
