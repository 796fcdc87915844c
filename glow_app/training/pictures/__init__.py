"""What is drawn while a model trains."""
