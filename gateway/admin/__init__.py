"""The admin port: health, readiness and metrics."""
