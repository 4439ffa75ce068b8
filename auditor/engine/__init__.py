"""Engine from a plan to evidence: jobs and their executors."""
