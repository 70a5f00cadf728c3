"""Files of every kind, altered without end and given to what reads them: none leaves the error tree or its bounds."""
