"""Files of every format, altered at random and always alike, given to what reads them: none leaves the error tree."""
