"""Flows whose map is the solution of a differential equation; the solvers are torchdiffeq's (extra ``continuous``)."""
