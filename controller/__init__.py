"""The BacalhauDAG operator: runs graphs of Bacalhau jobs that are described by Kubernetes resources."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("bacalhau-dag-operator")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0.0.0+checkout"
