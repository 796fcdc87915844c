"""The options of each kind of flow besides Glow, NICE and Real NVP; see :mod:`glow_app.config.model`."""
