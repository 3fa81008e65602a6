"""Parameters and the values given for them: in the DAG itself, or read from ConfigMaps when its run starts.

What was read is kept as the text that it was, and becomes a value anew each time: JSON that goes through an API server comes back without nulls
and with other numbers, and a run must go on after a restart with the very values that it began with.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.api.parameters import DAGParameter, Parameter, ParameterType
from controller.api.status import MAX_RECORDED
from controller.engine.expressions import as_text, has_expression
from controller.engine.problems import InvalidDAG, Problem, shown, unknown

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
    """Find arguments for no parameter, parameters without value, and values that are not allowed.

    Where arguments are ``evaluated``, a text with an expression may stand for any value; it is checked again when it has one.
    """
    declared = {parameter.name: parameter for parameter in parameters}
    for name in sorted(arguments.keys() - declared.keys()):
        yield unknown(f"{field}.{name}", name, f"a parameter of {owner}", declared)
    for name, parameter in declared.items():
        if name not in arguments and parameter.needs_argument:
            yield Problem(
                f"{field}.{name}", f'the parameter "{name}" of {owner} needs a value, or a default.'
            )
        elif name in arguments and not (evaluated and has_expression(arguments[name])):
            yield from value_problems(parameter, arguments[name], field=f"{field}.{name}")


def declaration_problems(parameters: Sequence[Parameter], *, field: str) -> Iterator[Problem]:
    """Find defaults and allowed values that do not fit their parameter."""
    for index, parameter in enumerate(parameters):
        wrong = [
            problem
            for number, value in enumerate(parameter.enum or ())
            for problem in _type_problems(parameter, value, field=f"{field}[{index}].enum[{number}]")
        ]
        yield from wrong
        if parameter.has_default and not wrong:
            yield from value_problems(parameter, parameter.default, field=f"{field}[{index}].default")


def value_problems(parameter: Parameter, value: Any, *, field: str) -> Iterator[Problem]:
    """Say that a value has another type than its parameter declares, or is not among the allowed ones."""
    problems = [*_type_problems(parameter, value, field=field)]
    yield from problems
    if parameter.enum is not None and not problems and value not in parameter.enum:
        allowed = ", ".join(shown(entry) for entry in parameter.enum)
        yield Problem(
            field, f'{shown(value)} is not among the values that "{parameter.name}" may have: {allowed}.'
        )


def _type_problems(parameter: Parameter, value: Any, *, field: str) -> Iterator[Problem]:
    if not has_type(value, parameter.type):
        yield Problem(field, f"{shown(value)} is not of type {parameter.type.value}.")


def duplicate_problems(names: Sequence[str], *, field: str) -> Iterator[Problem]:
    """Find names that stand twice in a list that is keyed by name."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Problem(f"{field}[{index}].name", f'"{name}" is already the name of another item.')
        seen.add(name)


# Values that are kept elsewhere


def source_problems(parameters: Sequence[DAGParameter], arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """Find a ``valueFrom`` that is not clear about where the value comes from."""
    for parameter in parameters:
        if parameter.value_from is None:
            continue
        field = f"spec.parameters[{parameter.name}].valueFrom"
        if (parameter.config_map is None) == (parameter.secret is None):
            yield Problem(field, "a value comes from exactly one of configMapKeyRef and secretKeyRef.")
        elif parameter.config_map and parameter.config_map.optional != parameter.has_default:
            yield Problem(
                f"{field}.configMapKeyRef.optional",
                "a default is for a value that may be missing: write both optional: true and a default, or neither.",
            )
        elif parameter.secret:
            yield from _secret_problems(parameter, arguments)


def _secret_problems(parameter: DAGParameter, arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """A Secret's value is text that nobody has written into the DAG, where all who may read the DAG would see it."""
    field = f"spec.parameters[{parameter.name}]"
    if parameter.type is not ParameterType.STRING:
        yield Problem(f"{field}.type", "a value from a Secret is of type string.")
    if parameter.has_default:
        yield Problem(f"{field}.default", "a value from a Secret has no default.")
    if parameter.enum is not None:
        yield Problem(f"{field}.enum", "a value from a Secret is not checked; remove enum.")
    if parameter.name in arguments:
        yield Problem(
            f"spec.arguments.{parameter.name}",
            f'the value of "{parameter.name}" comes from a Secret; remove it here, where everybody can read it.',
        )


def from_config_maps(
    parameters: Sequence[DAGParameter], arguments: Mapping[str, Any]
) -> tuple[DAGParameter, ...]:
    """Give the parameters whose values are read from ConfigMaps when the run starts."""
    return tuple(
        parameter for parameter in parameters if parameter.config_map and parameter.name not in arguments
    )


def default_text(parameter: Parameter) -> str:
    """Write down a default as a ConfigMap would hold it."""
    return as_text(parameter.default)


def values_of(parameters: Sequence[DAGParameter], texts: Mapping[str, str]) -> dict[str, Any]:
    """Read the texts of ConfigMaps as the values that they stand for.

    Raises:
        InvalidDAG: with all texts that are missing or no JSON, and all values that are not allowed.
    """
    problems = list(_size_problems(texts))
    values: dict[str, Any] = {}
    for parameter in parameters:
        field = f"spec.parameters[{parameter.name}].valueFrom.configMapKeyRef"
        text = texts.get(parameter.name)
        if text is None:
            problems.append(Problem(field, "there is no value."))
            continue
        try:
            value = values[parameter.name] = _value_of(parameter, text)
        except (ValueError, RecursionError):
            problems.append(Problem(field, f"{shown(text)} is not JSON of type {parameter.type.value}."))
        else:
            problems += value_problems(parameter, value, field=field)
    if problems:
        raise InvalidDAG(problems)
    return values


def _value_of(parameter: DAGParameter, text: str) -> Any:
    return text if parameter.type is ParameterType.STRING else json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    """Python would read NaN and Infinity, which JSON does not have."""
    raise ValueError(constant)


def _size_problems(texts: Mapping[str, str]) -> Iterator[Problem]:
    size = sum(map(len, texts.values()))
    if size > MAX_RECORDED:
        yield Problem(
            "spec.parameters",
            f"the values from ConfigMaps have {size} characters in all; at most {MAX_RECORDED} are allowed, since the status "
            "keeps them. Put data into files, and pass on their CID.",
        )
