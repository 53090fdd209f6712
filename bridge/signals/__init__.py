"""Traces and metrics: the signals of the bridge to other programs."""
