"""Runs one tool for the people of a hub, and lets in only whom the hub has given access."""
