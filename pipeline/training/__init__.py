"""Training of the embedded model: vision, language, export."""
