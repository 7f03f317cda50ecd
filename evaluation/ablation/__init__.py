"""Which part of the program helps: systems with one part switched off, compared row by row."""
