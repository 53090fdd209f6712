"""Where runs are kept that outlive the process: a file of SQLite, written by one thread."""
