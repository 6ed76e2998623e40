"""HTTP: routes, problem details, and what is changed of BentoML's server."""
