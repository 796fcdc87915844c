"""The relatives of Glow: NICE, Real NVP, MAF and IAF, and flows of points in the plane."""
