"""The Kubernetes side: what is read from the API server and written to it, fenced, paced and retried.

kopf brings events in at the edge; everything that goes out passes through here. Nothing in this package
knows what a DAG is: it deals in keys, objects, status deltas, Events and a Lease.
"""
