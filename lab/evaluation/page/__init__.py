"""Pages and pictures that show which visual tokens are kept, and what became of the answers."""
