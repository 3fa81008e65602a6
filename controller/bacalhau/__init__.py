"""Everything that talks to a Bacalhau cluster: HTTP client, exactly-once submission, job tracker, IPFS look-ups."""
