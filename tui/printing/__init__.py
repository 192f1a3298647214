"""Tables, files, LaTeX and the report page: what the command line prints and writes."""
