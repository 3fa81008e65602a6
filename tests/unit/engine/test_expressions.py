"""Expressions inside values: what they become, what they may not do, and which names they read."""

import resource
from typing import Any

import pytest

from controller.engine.expressions import compile_expression, compile_template
from controller.engine.problems import RenderError

VARIABLES: dict[str, Any] = {
    "params": {
        "text": "a b",
        "count": 3,
        "ratio": 1.5,
        "on": True,
        "none": None,
        "items": [1, "two", None],
        "table": {"b": 1, "a": {"c": [True]}},
        "code": '${{ params.count }} "+params.text+" }}',
        "unicode": "naïve ✓",
        "long": "x" * 40_000,
        "huge": "x" * 100_000,
    },
    "inputs": {"step": "count"},
    "nodes": {"split": {"exitCode": 0, "outputs": {"cid": "QmX"}}, "a-b": {"phase": "Succeeded"}},
    "dag": {"name": "wc", "namespace": "lab", "uid": "u"},
}


def render(tree: Any) -> Any:
    """The value of a tree with the variables above."""
    return compile_template(tree, "field").render(VARIABLES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Exactly one expression keeps the type of its value.
        ("${{ params.text }}", "a b"),
        ("${{ params.count }}", 3),
        ("${{ params.ratio }}", 1.5),
        ("${{ params.on }}", True),
        ("${{ params.none }}", None),
        ("${{ params.items }}", [1, "two", None]),
        ("${{ params.table }}", {"a": {"c": [True]}, "b": 1}),
        ("${{ params.count + 1 }}", 4),
        ("${{ params.count > 2 ? 'big' : 'small' }}", "big"),
        ("${{ inputs.step }}", "count"),
        ("${{ nodes.split.outputs.cid }}", "QmX"),
        ('${{ nodes["a-b"].phase }}', "Succeeded"),
        ("${{ nodes.`a-b`.phase }}", "Succeeded"),
        ("${{ dag.namespace + '/' + dag.name }}", "lab/wc"),
        ("${{ params.?missing.orValue('default') }}", "default"),
        ("${{params.count}}", 3),
        ("${{\n  params.count\n}}", 3),
        # Inside a longer string it becomes text; strings stay as they are, the rest is JSON.
        ("--text=${{ params.text }}", "--text=a b"),
        ("n=${{ params.count }};", "n=3;"),
        ("${{ params.on }}${{ params.none }}", "truenull"),
        ("x ${{ params.items }}", 'x [1, "two", null]'),
        ("x ${{ params.table }}", 'x {"a": {"c": [true]}, "b": 1}'),
        ("x ${{ params.unicode }}", "x naïve ✓"),
        (" ${{ params.count }}", " 3"),
        # Braces and quotes inside expressions.
        ("${{ '}}' }}", "}}"),
        ('${{ "{{" }}', "{{"),
        ("${{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("${{ {'a': 1}}}", {"a": 1}),
        ("${{ {'a': {'b': 1}}['a'] }}x", '{"b": 1}x'),
        (r"${{ 'it\'s }}' }}", "it's }}"),
        ('${{ "\\"}}" }}', '"}}'),
        ("${{ '''it's }} done''' }}", "it's }} done"),
        ('${{ r"\\d" }}', "\\d"),
        # How to write the opening itself.
        ("${{ '${{' }}", "${{"),
        ("$${{ 1 }}", "$1"),
        ("{{ not one }}", "{{ not one }}"),
        ("$ {{ 1 }}", "$ {{ 1 }}"),
        # Types that CEL has beyond JSON's.
        ("${{ duration('90s') }}", "90s"),
        ("${{ timestamp('2026-01-01T00:00:00Z') }}", "2026-01-01T00:00:00+00:00"),
        ("${{ b'abc' }}", "abc"),
        ("${{ 5u }}", 5),
        ("${{ {2: 'two', 'b': 2, true: 3} }}", {"2": "two", "b": 2, "true": 3}),
    ],
)
def test_values(text: str, value: Any) -> None:
    rendered = render(text)
    assert rendered == value
    assert type(rendered) is type(value)


def test_maps_come_in_the_order_of_their_keys() -> None:
    keys = [f"k{number:02}" for number in range(40)]
    literal = ", ".join(f"'{key}': 1" for key in reversed(keys))
    assert list(render(f"${{{{ {{{literal}}} }}}}")) == keys


def test_trees_are_rendered_leaf_by_leaf_and_keys_are_left_alone() -> None:
    tree = {"a": ["${{ 1 }}", {"b": "x${{ 2 }}"}], "${{ 3 }}": None, "n": 5, "t": True}
    assert render(tree) == {"a": [1, {"b": "x2"}], "${{ 3 }}": None, "n": 5, "t": True}


@pytest.mark.parametrize(
    "text", ["${{ params.code }}", "echo ${{ params.code }}", "${{ 'x' + params.code }}"]
)
def test_a_value_is_never_evaluated(text: str) -> None:
    assert VARIABLES["params"]["code"] in render(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "${{ params.missing }}",
            'field: ${{ params.missing }} has no value: Key not found in map : "missing".',
        ),
        ("${{ nodes[params.text].phase }}", "Key not found in map"),
        ("${{ 1 / 0 }}", "divide by zero"),
        ("${{ 1.0 / 0.0 }}", "its value inf has no form in JSON"),
        ("${{ [0.0 / 0.0] }}", "its value nan has no form in JSON"),
        ("${{ type(1) }}", "has no form in JSON"),
        ("${{ optional.none() }}", "it gives an optional; add .orValue(…)"),
        ("${{ [optional.of(1)] }}", "it gives an optional"),
        ("${{ {'a': {'b': optional.of(1)}} }}", "it gives an optional"),
        ("${{ params.text + 1 }}", "has no value"),
        ("${{ params.long.split('').join(params.long) }}", "it takes more than 128 MB of memory"),
        (
            "${{ params.long + params.huge.trim() }}",
            "computes with values of 140000 characters; at most 65536",
        ),
        ("${{ params.map(name, 1) }}", "at most 8192 are allowed"),
        ("${{ params.long.contains('x') && [1].all(x, true) }}", "at most 8192 are allowed"),
    ],
)
def test_an_expression_without_value_is_named(text: str, said: str) -> None:
    template = compile_template(text, "field")
    with pytest.raises(RenderError) as caught:
        template.render(VARIABLES)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("${{ nodes.a ", "never closes it with }}"),
        ("${{ {'a': 1 }}", "never closes it with }}"),
        ("${{ }}", 'the expression "" is wrong: it is empty.'),
        ("${{ 1 + }}", 'field: the expression "1 +" is wrong: column 4: Syntax error'),
        ("${{ item }}", "undeclared reference to 'item'; the variables are params, inputs, nodes and dag"),
        ("${{ a-b }}", 'a name with a hyphen is written as in nodes["a-b"]'),
        ("${{ unknown(1) }}", "undeclared reference to 'unknown'"),
        ("${{ " + "1+" * 512 + "1 }}", "it has 1025 characters; at most 1024 are allowed"),
        ("${{ " + "(" * 300 + "1" + ")" * 300 + " }}", "is wrong"),
    ],
)
def test_a_wrong_expression_is_named(text: str, said: str) -> None:
    with pytest.raises(RenderError) as caught:
        compile_template(text, "field")
    assert said in str(caught.value)


def test_what_only_names_a_value_sees_it_whatever_its_size() -> None:
    assert len(render("${{ params.huge }}")) == 100_000
    assert len(render("${{ params.huge + 'trim() map(' }}")) == 100_011
    assert render("${{ params.long.size() }}") == 40_000
    assert render("${{ [1].map(a, 2).map(b, 3).map(c, 4) }}") == [4]


def test_the_bound_on_memory_ends_with_the_evaluation() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    render("${{ params.count }}")
    with pytest.raises(RenderError):
        render("${{ params.long.split('').join(params.long) }}")
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_an_expression_that_would_not_end_is_cut_off() -> None:
    loop = "[1,1,1,1,1,1,1,1,1,1]"
    nested = "true"
    for name in "abcdefgh":
        nested = f"{loop}.all({name}, {nested})"
    with pytest.raises(RenderError, match="has no value"):
        render(f"${{{{ {nested} }}}}")


def test_a_wrong_field_is_named_by_its_path() -> None:
    with pytest.raises(RenderError) as caught:
        compile_template({"a": ["x", {"b": "${{ 1 + }}"}]}, "spec.job")
    assert caught.value.field == "spec.job.a[1].b"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("nodes.split.outputs.cid", {("nodes", "split")}),
        ('nodes["a-b"].phase', {("nodes", "a-b")}),
        ("nodes['a-b'].phase", {("nodes", "a-b")}),
        ("nodes.`a-b`.phase", {("nodes", "a-b")}),
        ("nodes . split", {("nodes", "split")}),
        ("nodes[ 'split' ]", {("nodes", "split")}),
        ("nodes.?split.?outputs", {("nodes", "split")}),
        ("nodes[?'split']", {("nodes", "split")}),
        ("params.a + inputs.b + dag.name", {("params", "a"), ("inputs", "b"), ("dag", "name")}),
        ("params.nodes.x", {("params", "nodes")}),
        ("params.a.params.b", {("params", "a")}),
        ("'nodes.split'", set()),
        ("'it\\'s nodes.split'", set()),
        ("'''it's nodes.split'''", set()),
        ("params['a'].nodes.split + (params).params.x", {("params", "a"), ("params", "")}),
        (".nodes.split + 1", {("nodes", "split")}),
        ("[1].map(myparams, myparams + 1)", set()),
        ("[{'x': 1}].map(nodesx, nodesx.x)", set()),
        ("nodes[params.which].phase", {("nodes", ""), ("params", "which")}),
        ("params.map(name, params[name])", {("params", "")}),
        ("params.map", {("params", "map")}),
        ("size(params)", {("params", "")}),
        ("1", set()),
    ],
)
def test_the_names_that_an_expression_reads(source: str, names: set[tuple[str, str]]) -> None:
    assert compile_expression(source).references == names


def test_a_template_gathers_the_names_of_all_its_expressions() -> None:
    template = compile_template(
        {"a": "${{ nodes.x.phase }} and ${{ params.p }}", "b": ["${{ nodes.y.phase }}"]}, "f"
    )
    assert template.references == {("nodes", "x"), ("params", "p"), ("nodes", "y")}
