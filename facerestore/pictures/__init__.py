"""All that is drawn for people: comparisons, sheets, parts, plots and their layout."""
