"""A mutating admission webhook that makes every pod obey its project's resource limits."""
