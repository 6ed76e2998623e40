"""One server for each rival, as a person writes it. They run in environments of their own, without Thinned."""
