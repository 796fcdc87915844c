"""What one does with a trained flow."""
