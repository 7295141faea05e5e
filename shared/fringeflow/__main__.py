"""Lets `python -m fringeflow` be the `fringeflow` command."""

from fringeflow.cli.main import main

main()
