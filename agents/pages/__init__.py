"""Reading pages: the engine of a process, its logins, and what it is asked."""
