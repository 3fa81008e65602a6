"""How a run looks in a terminal: a tree of nodes that advances, or plain lines where there is no terminal.

The view is given DAG objects as the API server stores them, one after another, and knows nothing of where they
come from. How a graph becomes a tree is said in ``dev.tree``.
"""

from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controller.api.dag import BacalhauDAG
from controller.api.status import DAGStatus, NodePhase, NodeStatus, RunPhase
from controller.engine.identity import item_name
from dev.tree import Row, Tree, layout

Clock = Callable[[], datetime]

REFRESHES_PER_SECOND = 10
MANY_ITEMS = 5
"""Up to so many items of a fan-out are shown one by one."""
PROGRESS_WIDTH = 30
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

STYLES: Mapping[str, tuple[str, str]] = {
    "Pending": ("○", "dim"),
    "Submitted": ("◌", "cyan"),
    "Queued": ("◔", "cyan"),
    "Running": ("●", "bold yellow"),
    "Suspended": ("‖", "magenta"),
    "Succeeded": ("✔", "green"),
    "Failed": ("✘", "bold red"),
    "Error": ("‼", "bold red"),
    "Cancelled": ("■", "magenta"),
    "Skipped": ("»", "dim"),
    "Omitted": ("–", "dim"),
}
"""Symbol and style of each phase, of runs and of nodes."""

UNSUCCESSFUL = (NodePhase.FAILED, NodePhase.ERROR, NodePhase.CANCELLED)
UNSEEN = DAGStatus()
PENDING = NodeStatus(phase=NodePhase.PENDING)


def now() -> datetime:
    """Tell the time, with its zone."""
    return datetime.now(UTC)


async def follow(
    dags: AsyncIterable[BacalhauDAG], *, console: Console, clock: Clock = now
) -> BacalhauDAG | None:
    """Show a run until it ends or nothing more comes, and give the last object seen.

    A terminal gets the tree; anything else one line for each change of a phase.
    """
    if console.is_terminal:
        return await _follow_as_tree(dags, console=console, clock=clock)
    return await _follow_as_lines(dags, console=console, clock=clock)


async def _follow_as_tree(
    dags: AsyncIterable[BacalhauDAG], *, console: Console, clock: Clock
) -> BacalhauDAG | None:
    last: BacalhauDAG | None = None
    tree = Tree((), ())

    def view() -> RenderableType:
        return render(last, tree, at=clock()) if last else Text("Waiting for the DAG …", style="dim")

    with Live(console=console, get_renderable=view, refresh_per_second=REFRESHES_PER_SECOND):
        async for dag in dags:
            tree = tree if last and last.spec == dag.spec else layout(dag.spec)
            last = dag
            if has_ended(dag):
                break
    return last


async def _follow_as_lines(
    dags: AsyncIterable[BacalhauDAG], *, console: Console, clock: Clock
) -> BacalhauDAG | None:
    last: BacalhauDAG | None = None
    async for dag in dags:
        for line in changes(last, dag):
            console.print(f"{clock():%H:%M:%S}  {line}", markup=False, highlight=False, soft_wrap=True)
        last = dag
        if has_ended(dag):
            break
    return last


def has_ended(dag: BacalhauDAG) -> bool:
    """Tell whether the run will not advance any more."""
    return run_phase(dag).is_terminal


def run_status(dag: BacalhauDAG) -> DAGStatus:
    """How the run goes; an empty status before the operator saw it."""
    return dag.status or UNSEEN


def run_phase(dag: BacalhauDAG) -> RunPhase:
    """Where the run stands; Pending before the operator saw it."""
    return run_status(dag).phase or RunPhase.PENDING


def node_status(dag: BacalhauDAG, name: str) -> NodeStatus:
    """What became of a node; Pending while the status does not name it."""
    return run_status(dag).nodes.get(name, PENDING)


def unsuccessful_items(dag: BacalhauDAG, name: str) -> list[str]:
    """Name the items of a fan-out that did not succeed, which are the only ones to be shown: there may be thousands."""
    items = node_status(dag, name).items
    names = [item_name(name, number) for number in range(items.total if items else 0)]
    return [item for item in names if node_status(dag, item).phase in UNSUCCESSFUL]


def changes(before: BacalhauDAG | None, after: BacalhauDAG) -> Iterator[str]:
    """Describe what changed its phase between two sightings of a run, nodes first."""
    nodes = [node.name for node in (*after.spec.nodes, *after.spec.finally_)]
    for name in chain.from_iterable([name, *unsuccessful_items(after, name)] for name in nodes):
        old = node_status(before, name).phase if before else NodePhase.PENDING
        status = node_status(after, name)
        if status.phase is not old:
            yield _line(name, status.phase, elapsed(status, None), _detail(status))
    if before is None or run_phase(before) is not run_phase(after):
        yield _line(after.metadata.name, run_phase(after), None, run_status(after).message or "")


def _line(name: str, phase: str, seconds: float | None, detail: str) -> str:
    took = "" if seconds is None else duration(seconds)
    return f"{STYLES[phase][0]} {name:<24} {phase:<10} {took:>6}  {detail}".rstrip()


def _detail(status: NodeStatus) -> str:
    """What is worth knowing of a node in one line: why it is not well, or else its result."""
    if status.message and status.phase is not NodePhase.SUCCEEDED:
        return status.message
    return (status.outputs.cid or status.outputs.uri) if status.outputs else ""


def render(dag: BacalhauDAG, tree: Tree, *, at: datetime) -> RenderableType:
    """Draw the run as it stood at a moment: a heading with its progress, then its nodes as they are laid out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column()  # rich narrows only what may wrap, so this column gives way; its texts are cut all the same
    for row in tree.nodes:
        _add(table, row, dag, at)
    if tree.last:
        table.add_row(Text("finally", style="dim"))
    for row in tree.last:
        _add(table, row, dag, at)
    return Group(_heading(dag, tree, at), table, *_message(dag))


def _add(table: Table, row: Row, dag: BacalhauDAG, at: datetime) -> None:
    """Show a node, and of a fan-out the first items that did not succeed."""
    name = Text.assemble((row.guide, "dim"), row.name, (row.joins, "dim"), no_wrap=True, overflow="ellipsis")
    table.add_row(name, *_cells(node_status(dag, row.name), at))
    items = unsuccessful_items(dag, row.name)
    for item in items[:MANY_ITEMS]:
        table.add_row(_below(row, item), *_cells(node_status(dag, item), at))
    if len(items) > MANY_ITEMS:
        table.add_row(_below(row, f"… and {len(items) - MANY_ITEMS} more"))


def _below(row: Row, what: str) -> Text:
    return Text.assemble((f"{row.below}  ", "dim"), what, no_wrap=True, overflow="ellipsis")


def _cells(status: NodeStatus, at: datetime) -> tuple[RenderableType, ...]:
    """What is shown of a node: its phase, the time that it took, and its result or what is wrong."""
    took = elapsed(status, at)
    style = "red" if status.phase in UNSUCCESSFUL else "dim"
    phase = _phase_text(status.phase, at)
    if status.items:
        phase.append(f" {status.items.succeeded + status.items.skipped}/{status.items.total}")
    detail = Text(_detail(status), style=style, no_wrap=True, overflow="ellipsis")
    return phase, "" if took is None else duration(took), detail


def _progress(status: NodeStatus) -> tuple[int, int]:
    """How many of its items have ended, of how many; a node without items is one."""
    if items := status.items:
        return items.succeeded + items.failed + items.skipped, items.total
    return int(status.phase.is_terminal), 1


def _heading(dag: BacalhauDAG, tree: Tree, at: datetime) -> RenderableType:
    progress = [_progress(node_status(dag, row.name)) for row in tree.rows]
    done, total = (sum(counts) for counts in zip(*progress, strict=True))
    status = run_status(dag)
    heading = Table.grid(padding=(0, 2))
    heading.add_row(
        Text(dag.metadata.name, style="bold"),
        _phase_text(run_phase(dag), at),
        ProgressBar(total=total, completed=done, width=PROGRESS_WIDTH),
        f"{done}/{total}",
        duration(_between(status.start_time, status.completion_time, at) or 0.0),
    )
    return heading


def _message(dag: BacalhauDAG) -> list[RenderableType]:
    message = run_status(dag).message
    if not message or run_phase(dag) in (RunPhase.RUNNING, RunPhase.SUCCEEDED):
        return []
    return [Text(message, style=STYLES[run_phase(dag)][1])]


def _phase_text(phase: str, at: datetime) -> Text:
    symbol, style = STYLES[phase]
    if phase == "Running":
        symbol = SPINNER[int(at.timestamp() * REFRESHES_PER_SECOND) % len(SPINNER)]
    return Text(f"{symbol} {phase}", style=style)


def elapsed(status: NodeStatus, at: datetime | None) -> float | None:
    """Seconds that a node has taken, or took: None before it started, or when it runs and no time is given."""
    return _between(status.started_at, status.finished_at, at)


def _between(start: str | None, end: str | None, at: datetime | None) -> float | None:
    if not start:
        return None
    until = datetime.fromisoformat(end) if end else at
    return max(0.0, (until - datetime.fromisoformat(start)).total_seconds()) if until else None


def duration(seconds: float) -> str:
    """Write a length of time for people: 2.1s, 42s, 3m07s, 2h05m."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"
