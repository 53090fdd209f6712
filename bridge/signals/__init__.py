"""What other programs see of the bridge: traces and metrics."""
