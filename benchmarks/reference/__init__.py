"""The published ways of doing what facerestore does, written plainly; networks are in facerestore.archs.reference."""
