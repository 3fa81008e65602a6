"""The BacalhauDAG operator: runs graphs of Bacalhau jobs that are described by Kubernetes resources."""

__version__ = "0.1.0"
"""Written here alone: an image runs from the source, where no package's metadata is installed."""
