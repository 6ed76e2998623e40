"""A stored model in Python: rows in, answers out, shown as text, as HTML and as drawings."""
