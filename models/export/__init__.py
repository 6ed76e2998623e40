"""A stored model as a file that other programs run: passes and deterministic answers with no code of ours."""
