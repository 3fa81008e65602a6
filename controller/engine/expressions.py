"""``${{ … }}``: CEL expressions inside the values of a job.

Expressions are evaluated on the parsed tree: a string that is exactly one expression becomes the expression's value with its type;
inside a longer string the value becomes text. Values are bound as variables and never pasted into expression text, so no value can
become code.

The runtime is Google's (``cel-expr-python``). It ends every evaluation by itself: it has a budget for iterations and for recursion,
which the other two libraries for Python lack. Memory, and what a single iteration takes, are bounded here.
It ends a text at the character NUL, which no argument or environment variable of a job could carry either.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from math import isfinite
from typing import Any, NamedTuple

from cel_expr_python import cel
from cel_expr_python.ext import ext_encoders, ext_math, ext_optional, ext_strings

from controller.engine.cost import STRING, size_limit
from controller.engine.memory import bounded_memory
from controller.engine.problems import RenderError, shown

MAX_LENGTH = 1024
MAX_MEMORY = 128 << 20
"""Bytes that one evaluation may take: maps over some 2,000 items, texts of some megabytes."""
VARIABLES = ("params", "inputs", "nodes", "dag")
"""What every expression may read. Some places know more: ``last`` (a retry's condition), ``run`` (a node of ``finally``), ``item`` and
``index`` (a node with ``forEach``)."""


@cache
def _environment(more: tuple[str, ...]) -> cel.Env:
    return cel.NewEnv(
        variables=dict.fromkeys((*VARIABLES, *more), cel.Type.DYN),
        extensions=[
            ext_strings.ExtStrings(),
            ext_math.ExtMath(),
            ext_optional.ExtOptional(),
            ext_encoders.ExtEncoders(),
        ],
    )


_MEMBER = r"""(?<=[\w\])}"'`])\s*\.\s*\??\s*[A-Za-z_]\w*"""
_REFERENCE = re.compile(
    rf"""{STRING}|{_MEMBER}|(?<!\w)(?P<root>{"|".join(VARIABLES)})\b\s*"""
    rf"""(?:\.\s*\??\s*(?P<name>[A-Za-z_]\w*\b(?!\s*\()|`[^`]+`)|\[\s*\??\s*(?P<quoted>{STRING})\s*\])?"""
)

_STEP = rf"""(?:\s*\.\s*(?:[A-Za-z_]\w*\b(?!\s*\()|`[^`]+`)|\s*\[\s*(?:{STRING})\s*\])"""
_PATH = re.compile(
    rf"""{STRING}|{_MEMBER}|(?<!\w)(?P<path>(?:{"|".join((*VARIABLES, "run"))})\b{_STEP}+"""
    rf"""|(?:item|index)\b{_STEP}*)"""
)
_LISTING = re.compile(
    rf"""{STRING}|(?<!\w)nodes\s*"""
    rf"""(?:\.\s*\??\s*(?P<name>[A-Za-z_]\w*|`[^`]+`)|\[\s*\??\s*(?P<quoted>{STRING})\s*\])"""
    r"""\s*\.\s*\??\s*outputs\s*\.\s*\??\s*files\b"""
)


def _key(group: str) -> str:
    """Give the pattern of one step into a map, with the key in this group."""
    return rf"""(?:\.\s*\??\s*(?P<{group}>[A-Za-z_]\w*\b(?!\s*\()|`[^`]+`)|\[\s*\??\s*(?P<quoted_{group}>{STRING})\s*\])"""


_FIELD = re.compile(
    rf"""{STRING}|{_MEMBER}|(?<!\w)(?:(?P<nodes>nodes)\s*{_key("node")}|(?P<other>last|run))\s*{_key("field")}"""
)
_BINDING = re.compile(r"\(\s*(?:last|run)\s*,")


def _variables_hint(more: tuple[str, ...]) -> str:
    *first, last = (*VARIABLES, *more)
    return f'; the variables are {", ".join(first)} and {last}, and a name with a hyphen is written as in nodes["a-b"]'


class Field(NamedTuple):
    """A field that an expression reads by its name: of ``nodes.<node>``, or of ``last`` or ``run``, which are no nodes."""

    root: str
    node: str
    name: str


class ExpressionError(Exception):
    """An expression that does not compile, or has no value for the variables given."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression and the names it reads: pairs such as ``("nodes", "split")``, or ``("params", "")`` for all of them."""

    source: str
    program: cel.Expression
    references: frozenset[tuple[str, str]]
    listings: frozenset[str]
    """Nodes of whose results it reads the files."""
    fields: frozenset[Field]
    """Fields that it reads of nodes, of the last attempt and of the run."""
    limit: int | None
    """Characters of values that it may compute with."""

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Give the value as JSON data.

        Raises:
            ExpressionError: the expression has no value, for example because a key is missing.
        """
        try:
            self._check_size(variables)
            with bounded_memory(MAX_MEMORY):
                return _json(self.program.eval(data=dict(variables)))
        except RuntimeError as error:  # its budget is used up
            raise ExpressionError(_reason(str(error))) from None
        except MemoryError:
            raise ExpressionError(f"it takes more than {MAX_MEMORY >> 20} MB of memory") from None

    @property
    def is_name(self) -> bool:
        """Tell whether it gives one value as it is, such as ``params.token``, and does nothing with it."""
        match = _REFERENCE.fullmatch(self.source)
        return bool(match and match["root"] and (match["name"] or match["quoted"]))

    def _check_size(self, variables: Mapping[str, Any]) -> None:
        if self.limit is None:
            return
        size = sum(len(as_text(_named(variables, *reference))) for reference in self.references)
        if size > self.limit:
            raise ExpressionError(
                f"it computes with values of {size} characters; at most {self.limit} are allowed"
            )


@lru_cache(maxsize=4096)
def compile_expression(source: str, more: tuple[str, ...] = ()) -> Expression:
    """Compile one CEL expression. ``more`` are the variables that this place knows beyond ``VARIABLES``.

    Raises:
        ExpressionError: it is not CEL, names an unknown variable, or exceeds a limit.
    """
    if len(source) > MAX_LENGTH:
        raise ExpressionError(f"it has {len(source)} characters; at most {MAX_LENGTH} are allowed")
    if not source:
        raise ExpressionError("it is empty")
    try:
        program = _environment(more).compile(source)
    except RuntimeError as error:
        if source.startswith("${{"):
            raise ExpressionError("here it is written without ${{ and }}") from None
        raise ExpressionError(_reason(str(error), more)) from None
    return Expression(
        source,
        program,
        frozenset(_references(source)),
        frozenset(_listings(source)),
        frozenset(_fields(source)),
        size_limit(source),
    )


def condition_holds(condition: Expression, variables: Mapping[str, Any], *, field: str) -> bool:
    """Evaluate an expression that must be true or false; ``field`` is where it stands.

    Raises:
        RenderError: it has no value, or one that is neither.
    """
    try:
        value = condition.evaluate(variables)
    except ExpressionError as error:
        raise RenderError(field, f"{shown(condition.source)} has no value: {error}.") from None
    if not isinstance(value, bool):
        raise RenderError(
            field, f"{shown(condition.source)} is {shown(value)}, which is neither true nor false."
        )
    return value


def paths(source: str) -> Iterator[str]:
    """Give the values that an expression reads as it spells them, such as ``nodes.split.exitCode``, each once."""
    return iter(dict.fromkeys(match["path"] for match in _PATH.finditer(source) if match["path"]))


def _named(variables: Mapping[str, Any], root: str, name: str) -> Any:
    return variables[root].get(name) if name else variables[root]


def _references(source: str) -> Iterator[tuple[str, str]]:
    for match in _REFERENCE.finditer(source):
        if match["root"]:
            yield match["root"], _name_in(match)


def _listings(source: str) -> Iterator[str]:
    """Give the nodes of which ``nodes.<name>.outputs.files`` is read."""
    for match in _LISTING.finditer(source):
        if name := _name_in(match):
            yield name


def _fields(source: str) -> Iterator[Field]:
    """Give the fields of nodes, of ``last`` and of ``run``. A loop may give these names to something else."""
    if _BINDING.search(source):
        return
    for match in _FIELD.finditer(source):
        root = match["nodes"] or match["other"]
        if root:
            node = _unquoted(match["node"], match["quoted_node"])
            yield Field(root, node, _unquoted(match["field"], match["quoted_field"]))


def _name_in(match: re.Match[str]) -> str:
    return _unquoted(match["name"], match["quoted"])


def _unquoted(name: str | None, quoted: str | None) -> str:
    return (name or "").strip("`") or (quoted or "").removeprefix("r")[1:-1]


def _reason(error: str, more: tuple[str, ...] = ()) -> str:
    """Keep the first sentence of CEL's report, without its status code and its drawing of the source."""
    first = error.split("\n", 1)[0].strip()
    if "undeclared reference" in first:
        first = first.replace(" (in container '')", "") + _variables_hint(more)
    return re.sub(r"^(?:[A-Z_]+: )?(?:ERROR: <input>:\d+:(\d+): )?", lambda at: _column(at[1]), first)


def _column(column: str | None) -> str:
    return f"column {column}: " if column else ""


def _json(value: cel.Value) -> Any:
    """Turn a value into JSON data, level by level: ``plain_value`` ends the process if it meets an optional inside a map."""
    try:
        content = value.value()
    except TypeError:
        raise ExpressionError("it gives an optional; add .orValue(…)") from None
    if value.type() == cel.Type.ERROR:
        raise ExpressionError(_reason(content))
    match content:
        case dict():  # CEL does not keep the order of keys
            return {as_text(key): _json(content[key]) for key in sorted(content, key=as_text)}
        case list():
            return [_json(item) for item in content]
        case _:
            return _json_scalar(content)


def _json_scalar(value: Any) -> Any:
    """Turn the types that CEL has beyond JSON's into text."""
    match value:
        case float() if not isfinite(value):
            raise ExpressionError(f"its value {value} has no form in JSON")
        case None | bool() | int() | float() | str():
            return value
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value.total_seconds():g}s"
        case bytes() | bytearray():
            return bytes(value).decode("utf-8", "replace")
        case _:
            raise ExpressionError(f"its value {shown(value)} has no form in JSON")


def has_expression(value: Any) -> bool:
    """Tell whether a value is a text with an expression in it."""
    return isinstance(value, str) and "${{" in value


def as_text(value: Any) -> str:
    """Give the text of a value inside a longer string: strings as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Text:
    """A string with expressions in it."""

    field: str
    parts: tuple[str | Expression, ...]

    def render(self, variables: Mapping[str, Any]) -> Any:
        if len(self.parts) == 1:
            return self._value(self.parts[0], variables)
        return "".join(as_text(self._value(part, variables)) for part in self.parts)

    def _value(self, part: str | Expression, variables: Mapping[str, Any]) -> Any:
        if isinstance(part, str):
            return part
        try:
            return part.evaluate(variables)
        except ExpressionError as error:
            raise RenderError(
                self.field, f"${{{{ {shown(part.source)[1:-1]} }}}} has no value: {error}."
            ) from None


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON tree whose strings may contain expressions, compiled once and rendered for each node."""

    tree: Any
    references: frozenset[tuple[str, str]] = frozenset()
    listings: frozenset[str] = frozenset()
    fields: frozenset[Field] = frozenset()

    def render(self, variables: Mapping[str, Any]) -> Any:
        """Evaluate every expression. The result is the caller's to change.

        Raises:
            RenderError: an expression has no value; the message names its field.
        """
        return _render(self.tree, variables)

    def expressions(self) -> Iterator[tuple[str, Expression]]:
        """Give all expressions, each with the field that it stands in."""
        return _expressions(self.tree)


def _expressions(tree: Any) -> Iterator[tuple[str, Expression]]:
    if isinstance(tree, _Text):
        yield from ((tree.field, part) for part in tree.parts if isinstance(part, Expression))
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _expressions(value)


def _render(tree: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(tree, _Text):
        return tree.render(variables)
    if isinstance(tree, dict):
        return {key: _render(value, variables) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_render(value, variables) for value in tree]
    return tree


def compile_template(tree: Any, field: str, more: tuple[str, ...] = ()) -> Template:
    """Compile the expressions of a JSON tree. ``field`` is the path of the tree in the resource, for messages.

    Raises:
        RenderError: an expression does not compile; the message names its field.
    """
    expressions: list[Expression] = []
    compiled = _compile(tree, field, expressions, more)
    return _reading(compiled, expressions)


def gathered(templates: Mapping[str, Template]) -> Template:
    """Make one template of several, each under its name."""
    return _reading({name: template.tree for name, template in templates.items()}, templates.values())


def _reading(tree: Any, sources: Iterable[Expression | Template]) -> Template:
    """Make a template that reads what these read."""
    references, listings, fields = (set[tuple[str, str]](), set[str](), set[Field]())
    for source in sources:
        references |= source.references
        listings |= source.listings
        fields |= source.fields
    return Template(tree, frozenset(references), frozenset(listings), frozenset(fields))


def _compile(tree: Any, field: str, expressions: list[Expression], more: tuple[str, ...]) -> Any:
    """Compile a tree, and gather its expressions."""
    if isinstance(tree, str):
        return _compile_text(tree, field, expressions, more) if has_expression(tree) else tree
    if isinstance(tree, dict):
        return {key: _compile(value, f"{field}.{key}", expressions, more) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_compile(value, f"{field}[{index}]", expressions, more) for index, value in enumerate(tree)]
    return tree


def _compile_text(text: str, field: str, expressions: list[Expression], more: tuple[str, ...]) -> _Text:
    parts: list[str | Expression] = []
    for literal, source in _split(text, field):
        if literal:
            parts.append(literal)
        if source is not None:
            parts.append(_compile_part(source, field, more))
    expressions.extend(part for part in parts if isinstance(part, Expression))
    return _Text(field, tuple(parts))


def _compile_part(source: str, field: str, more: tuple[str, ...]) -> Expression:
    try:
        return compile_expression(source.strip(), more)
    except ExpressionError as error:
        raise RenderError(field, f"the expression {shown(source.strip())} is wrong: {error}.") from None


def _split(text: str, field: str) -> Iterator[tuple[str, str | None]]:
    """Yield (literal, expression) pairs; the last pair has no expression."""
    position = 0
    while (start := text.find("${{", position)) >= 0:
        end = _closing(text, start + 3)
        if end < 0:
            raise RenderError(
                field, f"{shown(text)} opens an expression with ${{{{ and never closes it with }}}}."
            )
        yield text[position:start], text[start + 3 : end]
        position = end + 2
    yield text[position:], None


_TOKEN = re.compile(rf"{STRING}|[{{}}]")


def _closing(text: str, start: int) -> int:
    """Find the ``}}`` that ends an expression, past maps and string literals that contain braces; -1 if none does."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}" and depth > 0:
            depth -= 1
        elif token[0] == "}" and text.startswith("}}", token.start()):
            return token.start()
    return -1
