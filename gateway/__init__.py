"""The processes, ingress, admin API, CLI and telemetry: the only place where the parts meet."""
