"""Checks of arguments, files that appear whole, replicas, quiet imports: what every room may use, and no user needs."""
