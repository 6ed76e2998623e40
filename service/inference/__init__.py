"""The loaded model and what computes with it: jobs, the scheduler that joins them, the engine."""
