"""The commands, one topic per file. Each imports what it needs when it runs, so `--help` stays instant."""
