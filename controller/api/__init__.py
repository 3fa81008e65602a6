"""The resources of the group ``bacalhau.org`` as pydantic models, and what Bacalhau itself reports.

Everything else in the package may import this; this imports nothing of the project.
"""

GROUP = "bacalhau.org"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
