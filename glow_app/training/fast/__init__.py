"""Steps in a CUDA graph, and compiled ones."""
