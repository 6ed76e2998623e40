"""Results of a sweep for people: tables, plots, a page, a comparison of two, the README's table."""
