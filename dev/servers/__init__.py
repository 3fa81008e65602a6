"""The servers of the local control plane, each a process of its own that lives and dies with this one."""
