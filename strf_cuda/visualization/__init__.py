"""Pictures of a trained model: what it attends to, and what it finds."""
