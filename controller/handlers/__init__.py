"""The edge to Kubernetes: kopf handlers that take note of an object and queue its key. No I/O, no decisions, and they never raise."""
