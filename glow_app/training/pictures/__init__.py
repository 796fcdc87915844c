"""Pictures that are drawn while a model trains."""
