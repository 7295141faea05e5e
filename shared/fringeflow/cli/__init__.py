"""The `fringeflow` command."""
