"""What an operator asks and does, seen from outside of every worker: state, replay, dead letters, history, tidying."""
