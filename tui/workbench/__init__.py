"""The workbench's one screen and what goes on around it."""
