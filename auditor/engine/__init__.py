"""From a plan to evidence: jobs, and the executors that run them."""
