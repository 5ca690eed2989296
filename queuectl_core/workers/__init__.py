"""The processes: supervisors start workers, workers run jobs, and any of them rescues what dead ones left."""
