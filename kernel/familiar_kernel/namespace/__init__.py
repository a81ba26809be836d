"""What Claude's tools can see of a namespace, and do in it."""
