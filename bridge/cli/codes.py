"""Exit codes: what a command says to the shell that ran it."""

COMPLETED, FAILED, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
