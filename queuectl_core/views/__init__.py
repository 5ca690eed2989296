"""Views of a queue. They show what facts.py finds out, and compute nothing themselves."""
