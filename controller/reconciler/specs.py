"""From an object, as the API server stores it, to a DAG that can run, or to the sentence that says why it cannot."""

from pydantic import ValidationError

from controller.api.dag import BacalhauDAG, parse_dag
from controller.engine import Graph, InvalidDAG
from controller.engine.problems import shown
from controller.kube.objects import Body
from controller.reconciler.connection import Problem

MAX_PROBLEMS_SHOWN = 5


class Unfit(Exception):
    """A DAG that cannot run as it is written."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def compiled(body: Body) -> tuple[BacalhauDAG, Graph]:
    """Read a DAG, and check its graph.

    Raises:
        Unfit: it does not follow the schema, or its graph cannot run.
    """
    try:
        dag = parse_dag(dict(body))
        return dag, Graph.compile(dag.spec)
    except ValidationError as error:
        raise Unfit(Problem("InvalidSpec", _readable(error))) from None
    except InvalidDAG as error:
        raise Unfit(Problem("InvalidDAG", str(error))) from None
    except (RecursionError, ValueError):
        raise Unfit(Problem("InvalidSpec", "A value of the spec is nested too deeply. Flatten it.")) from None


def _readable(error: ValidationError) -> str:
    """Name each field and value that the schema does not allow."""
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']} (it is {shown(problem['input'])})"
        for problem in error.errors(include_url=False)
    ]
    return "; ".join(problems[:MAX_PROBLEMS_SHOWN])
