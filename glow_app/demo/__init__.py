"""The page of ``glow-demo``: :mod:`~glow_app.demo.studio` draws the pictures, :mod:`~glow_app.demo.page` shows them."""
