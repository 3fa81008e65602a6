"""From the spec of a DAG to its nodes: everything is checked that can be known before the run, and all mistakes are reported at once."""

from typing import Any

from controller.api.dag import DAGSpec, JobTemplate
from controller.api.node import Node
from controller.api.parameters import Parameter
from controller.engine.deadlines import timeout_problems
from controller.engine.drafts import Draft, connect, cycle_problems, finished
from controller.engine.expressions import (
    Expression,
    ExpressionError,
    Template,
    compile_expression,
    compile_template,
    gathered,
)
from controller.engine.fan_out import for_each_problems, given, items_of
from controller.engine.logic import Logic, LogicError, parse_logic
from controller.engine.nodes import CompiledNode, node_field
from controller.engine.parameters import (
    argument_problems,
    bound,
    declaration_problems,
    duplicate_problems,
    source_problems,
)
from controller.engine.problems import InvalidDAG, Problem, RenderError, shown, unknown
from controller.engine.results import FIELDS, FIELDS_OF, FIELDS_OF_FAN_OUTS
from controller.engine.secrets import exposures

_EMPTY = Template({})


class Compiler:
    """Gathers problems while it builds the graph, so that a user sees all of them at once."""

    def __init__(self, spec: DAGSpec) -> None:
        self.spec = spec
        self.problems: list[Problem] = []
        self.nodes = [*spec.nodes, *spec.finally_]
        self.index = {node.name: number for number, node in enumerate(self.nodes)}
        self.fan_outs = {node.name for node in self.nodes if node.for_each}
        self.params = {parameter.name for parameter in spec.parameters}
        self.templates: dict[str, tuple[JobTemplate, Template]] = {}

    def compile(self) -> tuple[CompiledNode, ...]:
        """Give the nodes with their edges, those of ``finally`` last.

        Raises:
            InvalidDAG: with every problem found.
        """
        self._check_document()
        self._compile_templates()
        main = len(self.spec.nodes)
        drafts = [self._draft(node, is_finally=number >= main) for number, node in enumerate(self.nodes)]
        self._check_outputs()
        if not self.problems:
            connect(drafts)
            self.problems.extend(cycle_problems(drafts))
        if self.problems:
            raise InvalidDAG(self.problems)
        return tuple(finished(number, draft, self.spec.parameters) for number, draft in enumerate(drafts))

    def _check_document(self) -> None:
        spec = self.spec
        for name in ("parameters", "job_templates", "nodes", "finally_", "outputs"):
            alias = DAGSpec.model_fields[name].alias
            self.problems.extend(
                duplicate_problems([item.name for item in getattr(spec, name)], field=f"spec.{alias}")
            )
        main = {node.name for node in spec.nodes}
        for number, node in enumerate(spec.finally_):
            if node.name in main:
                self._problem(
                    f"spec.finally[{number}].name", f"{shown(node.name)} is already the name of a node."
                )
        if spec.timeouts:
            self.problems.extend(timeout_problems(spec.timeouts))
        self.problems.extend(declaration_problems(spec.parameters, field="spec.parameters"))
        self.problems.extend(source_problems(spec.parameters, spec.arguments))
        self.problems.extend(
            argument_problems(spec.parameters, spec.arguments, field="spec.arguments", owner="the DAG")
        )

    def _check_outputs(self) -> None:
        for number, name in enumerate(self.spec.targets):
            producer = self._resolve(name, f"spec.targets[{number}]")
            if producer is not None and producer >= len(self.spec.nodes):
                self._problem(
                    f"spec.targets[{number}]", f"{shown(name)} is a node of finally, which runs in any case."
                )
        for number, output in enumerate(self.spec.outputs):
            place = f"spec.outputs[{number}].from"
            self._resolve(output.from_, place)
            if output.from_ in self.fan_outs:
                self._problem(
                    place,
                    f"{shown(output.from_)} has a result for each item, and an output is one result; name a node that reads them all.",
                )

    def _compile_templates(self) -> None:
        for template in self.spec.job_templates:
            place = f"spec.jobTemplates[{template.name}]"
            self.problems.extend(declaration_problems(template.parameters, field=f"{place}.parameters"))
            job = self._template(template.job.tree(), f"{place}.job")
            self._check_names(
                job, f"{place}.job", inputs={parameter.name for parameter in template.parameters}
            )
            self.templates[template.name] = (template, job)

    def _draft(self, node: Node, *, is_finally: bool) -> Draft:
        place = node_field(node, is_finally=is_finally)
        once: tuple[str, ...] = ("run",) if is_finally else ()
        more = (*once, "item", "index") if node.for_each else once
        parameters, job = self._job_of(node, place, more)
        when, when_is_of_items = self._when(node, f"{place}.when", once, more)
        draft = Draft(
            spec=node,
            job=job,
            arguments=self._checked_template(node.arguments, f"{place}.arguments", more),
            parameters=parameters,
            is_finally=is_finally,
            depends=self._depends(node, f"{place}.depends"),
            when=when,
            when_is_of_items=when_is_of_items,
            retry_condition=self._retry_condition(node, f"{place}.retry.condition"),
            part=self._parts(node, place, more),
            for_each=self._for_each(node, f"{place}.forEach", once),
        )
        self._connect(draft, place)
        self._check_exposure(draft, place)
        return draft

    def _when(
        self, node: Node, place: str, once: tuple[str, ...], more: tuple[str, ...]
    ) -> tuple[Expression | None, bool]:
        """Compile ``when``; tell whether it reads the item. One that does not is decided once for all items."""
        is_of_items = more != once and node.when is not None and not _compiles(node.when, once)
        return self._condition(node.when, place, more if is_of_items else once), is_of_items

    def _parts(self, node: Node, place: str, more: tuple[str, ...]) -> Template:
        parts = {
            str(number): self._checked_template(item.output, f"{place}.inputs[{number}].output", more)
            for number, item in enumerate(node.inputs)
            if item.output is not None
        }
        return gathered(parts)

    def _for_each(self, node: Node, place: str, once: tuple[str, ...]) -> Template | None:
        if node.for_each is None:
            return None
        before = len(self.problems)
        if node.suspend is not None:
            self._problem(place, "an approval is asked for once; forEach needs a job or a template.")
        for part, message in for_each_problems(node.for_each):
            self._problem(f"{place}{part}", message)
        template = self._checked_template(given(node.for_each), place, once)
        if len(self.problems) == before:
            self._check_items(template, place, node.for_each.min_succeeded or 0)
        return template

    def _check_items(self, template: Template, place: str, min_succeeded: int) -> None:
        """Make the list already, if nothing that it reads is still to come."""
        params = bound(self.spec.parameters, self.spec.arguments)
        to_come = {("params", name) for name in self.params - params.keys()}
        if to_come & template.references or any(root != "params" for root, _ in template.references):
            return
        try:
            items = items_of(template.render({"params": params}), place)
        except RenderError as error:
            self._problem(error.field, str(error).removeprefix(f"{error.field}: "))
            return
        if items and len(items) < min_succeeded:
            message = f"{min_succeeded} items cannot succeed where there are {len(items)}; lower it, or remove it to have all succeed."
            self._problem(f"{place}.minSucceeded", message)

    def _check_exposure(self, draft: Draft, place: str) -> None:
        others = {
            f"{place}.when": draft.when,
            f"{place}.retry.condition": draft.retry_condition,
            f"{place}.forEach": draft.for_each,
            f"{place}.inputs": draft.part,
        }
        found = exposures(
            self.spec.parameters, field=place, job=draft.job, arguments=draft.arguments, others=others
        )
        self.problems.extend(problem for problem in found if problem not in self.problems)

    def _depends(self, node: Node, place: str) -> Logic | None:
        if node.depends is None:
            return None
        if node.dependencies:
            self._problem(place, "a node has either depends or dependencies.")
        try:
            return parse_logic(node.depends, self.index, fan_outs=self.fan_outs)
        except LogicError as error:
            self._problem(place, f"{shown(node.depends)} cannot be read: {error}.")
            return None

    def _retry_condition(self, node: Node, place: str) -> Expression | None:
        """Compile a condition on an attempt. What other nodes did is none of its business: after a restart, attempts may be looked at first."""
        condition = self._condition(node.retry.condition if node.retry else None, place, ("last",))
        if condition and any(root in ("nodes", "inputs") for root, _ in condition.references):
            self._problem(place, f"{shown(condition.source)} reads more than last, params and dag.")
        return condition

    def _condition(self, source: str | None, place: str, more: tuple[str, ...]) -> Expression | None:
        if source is None:
            return None
        try:
            condition = compile_expression(source, more)
        except ExpressionError as error:
            self._problem(place, f"the expression {shown(source)} is wrong: {error}.")
            return None
        self._check_names(condition, place, inputs=set())
        return condition

    def _job_of(
        self, node: Node, place: str, more: tuple[str, ...]
    ) -> tuple[tuple[Parameter, ...], Template]:
        if sum(given is not None for given in (node.job, node.template, node.suspend)) != 1:
            self._problem(place, "a node has exactly one of job, template and suspend.")
            return (), _EMPTY
        if node.suspend is not None:
            self._check_approval(node, place)
            return (), _EMPTY
        if node.job is not None:
            if node.arguments:
                self._problem(
                    f"{place}.arguments", "arguments are for a template; this node has a job of its own."
                )
            return (), self._checked_template(node.job.tree(), f"{place}.job", more)
        if node.template not in self.templates:
            self.problems.append(
                unknown(f"{place}.template", str(node.template), "a job template of this DAG", self.templates)
            )
            return (), _EMPTY
        template, job = self.templates[node.template]
        owner = f'the job template "{template.name}"'
        self.problems.extend(
            argument_problems(
                template.parameters,
                node.arguments,
                field=f"{place}.arguments",
                owner=owner,
                evaluated=True,
            )
        )
        return tuple(template.parameters), job

    def _check_approval(self, node: Node, place: str) -> None:
        approval = node.suspend
        if approval and approval.timeout and approval.duration:
            message = "a wait ends well after a duration or badly after a timeout; give one."
            self._problem(f"{place}.suspend", message)
        for name, value in (("timeout", node.timeout), ("totalTimeout", node.total_timeout)):
            if value:
                message = f"{shown(value)} bounds a job, and this node has none; write suspend.timeout."
                self._problem(f"{place}.{name}", message)
        if node.retry:
            self._problem(f"{place}.retry", "a decision is asked for once; retry needs a job or a template.")

    def _checked_template(self, tree: Any, place: str, more: tuple[str, ...]) -> Template:
        template = self._template(tree, place, more)
        self._check_names(template, place, inputs=set())
        return template

    def _template(self, tree: Any, place: str, more: tuple[str, ...] = ()) -> Template:
        try:
            return compile_template(tree, place, more)
        except RenderError as error:
            self._problem(error.field, str(error).removeprefix(f"{error.field}: "))
            return _EMPTY

    def _check_names(self, template: Template | Expression, place: str, *, inputs: set[str]) -> None:
        known = {
            "params": self.params,
            "inputs": inputs,
            "nodes": self.index.keys(),
            "dag": {"name", "namespace", "uid"},
        }
        self._check_fields(template, place)
        for root, name in sorted(template.references):
            if root == "nodes" and not name:
                self._problem(
                    place, 'an expression reads nodes without naming one; write nodes["name"] to wait for it.'
                )
            elif name and name not in known[root]:
                self.problems.append(
                    unknown(f"{place}: the expression {root}.{name}", name, _KINDS[root], known[root])
                )

    def _check_fields(self, source: Template | Expression, place: str) -> None:
        for root, node, name in sorted(source.fields):
            where = f"{place}: the expression {'.'.join(filter(None, (root, node, name)))}"
            if root != "nodes":
                if name not in FIELDS_OF[root]:
                    self.problems.append(unknown(where, name, f"known of {root}", FIELDS_OF[root]))
            elif node in self.index:
                self._check_field_of_node(where, node, name, is_listing=node in source.listings)

    def _check_field_of_node(self, where: str, node: str, name: str, *, is_listing: bool) -> None:
        known = FIELDS_OF_FAN_OUTS if node in self.fan_outs else FIELDS
        if name in known or (is_listing and name == "outputs"):
            return
        if name in FIELDS:
            self._problem(where, f"{shown(node)} has one for each item; read nodes.{node}.items instead.")
        elif name in FIELDS_OF_FAN_OUTS:
            self._problem(where, f"{shown(node)} has no forEach, and so no {name}.")
        else:
            self.problems.append(unknown(where, name, "known of a node", known))

    def _connect(self, draft: Draft, place: str) -> None:
        for number, name in enumerate(draft.spec.dependencies):
            self._edge(draft, name, f"{place}.dependencies[{number}]")
        targets: set[str] = set()
        for number, item in enumerate(draft.spec.inputs):
            self._edge(draft, item.from_, f"{place}.inputs[{number}].from")
            if item.path in targets:
                self._problem(
                    f"{place}.inputs[{number}].target", f"{shown(item.path)} is the target of another input."
                )
            targets.add(item.path)
        for name in draft.depends.names() if draft.depends else ():
            self._edge(draft, name, f"{place}.depends")
        for root, name in sorted(draft.references):
            if root == "nodes" and name in self.index:
                draft.reads[self.index[name]] = None
                self._edge(draft, name, f"{place}: the expression nodes.{name}")
        for name in sorted(draft.listings & self.index.keys()):
            draft.listed[self.index[name]] = None
            if name in self.fan_outs:
                self._problem(
                    place,
                    f"nodes.{name}.outputs.files: {shown(name)} has a result for each item; read nodes.{name}.items instead.",
                )

    def _edge(self, draft: Draft, name: str, place: str) -> None:
        producer = self._resolve(name, place)
        if producer is None:
            return
        if name == draft.spec.name:
            self._problem(place, f'"{name}" cannot depend on itself.')
            return
        if producer >= len(self.spec.nodes):
            self._problem(place, f'"{name}" is a node of finally, which runs last.')
            return
        draft.dependencies[producer] = None

    def _resolve(self, name: str, place: str) -> int | None:
        if name not in self.index:
            self.problems.append(unknown(place, name, "a node of this DAG", self.index))
        return self.index.get(name)

    def _problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))


_KINDS = {
    "params": "a parameter of the DAG",
    "inputs": "a parameter of the template",
    "nodes": "a node of this DAG",
    "dag": "known of a DAG",
}


def _compiles(source: str, more: tuple[str, ...]) -> bool:
    try:
        compile_expression(source, more)
    except ExpressionError:
        return False
    return True
