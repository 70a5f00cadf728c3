"""Loss terms that several recipes share."""
