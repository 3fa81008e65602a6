"""A node as a run needs it: checked, its expressions compiled, and its edges as numbers of other nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.api.node import Node
from controller.api.parameters import Parameter
from controller.api.references import SecretKeyRef
from controller.engine.expressions import Expression, Template
from controller.engine.fan_out import Item
from controller.engine.logic import Logic


@dataclass(frozen=True, slots=True)
class CompiledNode:
    """A node with its edges as indexes, and its job as a template ready to render."""

    index: int
    name: str
    spec: Node
    job: Template
    parameters: tuple[Parameter, ...]
    arguments: Template
    dependencies: tuple[int, ...]
    dependents: tuple[int, ...]
    reads: tuple[int, ...]
    """Nodes whose results its expressions read, in whichever field."""
    references: frozenset[tuple[str, str]]
    """All that its expressions read, as in ``Expression.references``."""
    depends: Logic | None
    """When the node starts, if that is not simply that all its dependencies went well."""
    when: Expression | None
    retry_condition: Expression | None
    handlers: tuple[int, ...]
    """Nodes whose ``depends`` names this one, and which so deal with its failure."""
    is_finally: bool
    part: Template
    """The parts of results that its inputs mount, by the inputs' numbers."""
    for_each: Template | None
    """What makes the items of a fan-out."""
    when_is_of_items: bool
    """``when`` reads the item, so each item has a condition of its own."""
    listings: tuple[int, ...]
    """Nodes of whose results expressions read the files."""
    secrets: Mapping[str, SecretKeyRef]
    """Secrets whose values its job holds, by the parameters that they are for."""
    item: Item | None = None
    """Which item of which fan-out this is. A graph holds none; a run has them follow."""

    @property
    def field(self) -> str:
        """The node's place in the resource, for messages."""
        return node_field(self.spec, is_finally=self.is_finally)

    def as_item(self, index: int, name: str, item: Item) -> "CompiledNode":
        """Give an item of this fan-out, which is a node that waits for no other, and that no other waits for."""
        return replace(
            self,
            index=index,
            name=name,
            item=item,
            dependencies=(),
            dependents=(),
            depends=None,
            when=self.when if self.when_is_of_items else None,
            handlers=(),
            listings=(),
            for_each=None,
        )


def node_field(node: Node, *, is_finally: bool) -> str:
    """Name a node's place in the resource, for messages."""
    return f"spec.{'finally' if is_finally else 'nodes'}[{node.name}]"
