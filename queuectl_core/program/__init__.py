"""The program itself: its sources, the one-file bundle, and how the system starts it."""
