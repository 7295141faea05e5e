"""Runs the making of units in child processes: started in milliseconds, bounded, and honest about how they end.

Knows orders and the store; must not know the broker, the graph or any stage.
"""
