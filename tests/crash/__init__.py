"""The crash harness: commands whose system calls go wrong, one by one, and the same command again."""
