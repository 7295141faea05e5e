"""Key files: from the text an astronomer writes to a checked, frozen project. Knows no store, no bus and no science."""
