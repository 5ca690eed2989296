"""The processes: supervisors start workers, workers run jobs, and any of them rescues the jobs of dead workers."""
