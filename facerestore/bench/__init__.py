"""The program measures itself: the stages of the line, networks, and pairs of them run by run."""
