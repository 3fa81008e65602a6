"""The kinds that the operator reconciles, as the API server addresses them."""

from controller.api import GROUP, VERSION
from controller.kube.objects import Resource

DAGS = Resource(GROUP, VERSION, "bacalhaudags", "BacalhauDAG")
CONNECTIONS = Resource(GROUP, VERSION, "bacalhauconnections", "BacalhauConnection")
