"""Reports of a sweep's results: tables, plots, an HTML page, a comparison of two results, the README's table."""
