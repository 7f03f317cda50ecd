"""Builds the zip that is handed in, checks any zip against the task's rules, and proves it by running it."""
