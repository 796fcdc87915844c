"""The relatives of Glow: NICE, Real NVP, and flows of points in the plane."""
