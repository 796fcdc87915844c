"""Where figures and pictures of a run go."""
