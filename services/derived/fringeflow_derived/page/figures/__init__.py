"""Pictures, each a function from arrays to PNG bytes; none knows file names, HTML or global plotting state."""
