"""What release notes quote: this program measured against plain forms of the same work, side by side."""
