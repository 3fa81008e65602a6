"""What the operator costs, measured on the real servers of the local control plane."""
