"""Ways to edit an attribute, compared at equal success."""
