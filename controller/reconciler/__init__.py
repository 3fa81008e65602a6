"""The shell around the engine: it gathers what the engine observes, and does what the engine asks for.

``DAGReconciler`` and ``ConnectionReconciler`` process the keys of one kind each. An ``ActiveRun`` holds all that a run in progress
needs; a ``Connection`` is a Bacalhau cluster that runs share.
"""
