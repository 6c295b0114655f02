"""The operator: tenants, token Secrets and keys on Kubernetes."""
