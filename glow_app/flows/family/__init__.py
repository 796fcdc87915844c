"""The relatives of Glow: NICE, Real NVP, MAF, IAF and Gaussianization flows, and flows of points in the plane."""
