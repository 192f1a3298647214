"""Dialogs: choose, form, text, help, and the welcome screen."""
