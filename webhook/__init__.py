"""A mutating admission webhook that makes every pod obey its project's maxima."""

__version__ = "0.1.0"
