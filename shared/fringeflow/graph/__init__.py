"""The graph: which units a project asks for and what each needs. Pure functions of the project and of what exists."""
