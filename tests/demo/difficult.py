"""Serves a page on which everything happens that rarely does, until Ctrl-C: python -m tests.demo.difficult."""

import dataclasses
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from glow_app.data.landmarks import Face
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.demo.studio import Moves, Studio, Subject
from glow_app.errors import UserError
from tests.demo.studios import EYES, small_model, some_directions


class Difficult(Studio):
    """Refuses whatever the inverse of some other model could not follow; and finds two faces in any photo."""

    def after(self, subject: Subject, moves: Moves) -> Tensor:
        if moves.amounts.get("Strong", 0) > 1.5:
            raise UserError("image 1 of 1 is not finite: <its latents> are too far from what the model knows")
        return super().after(subject, moves)

    def built_up(self, subject: Subject, moves: Moves) -> Tensor:
        raise UserError("image 2 of 4 is not finite")

    def faces(self, subject: Subject) -> list[tuple[Face, Image.Image]]:
        eyes = np.array(EYES).reshape(2, 2) * 32
        colours = {5: "red", 50: "green"}
        return [
            (Face((left, 10, left + 32, 42), eyes + np.array([left, 10])), Image.new("RGB", (32, 32), colour))
            for left, colour in colours.items()
        ]


def main() -> None:
    """Serves it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(Path(folder, "uploads"))}
        from glow_app.demo import page, server

        page.is_installed = lambda: True
        model = small_model(Path(folder, "model"))
        model.card = dataclasses.replace(model.card, metrics={"val/bits_per_dim": 1.0}, eyes=EYES)
        source = DrawnFaces("test", image_size=16, n_images=8)
        blocks = page.build(Difficult(model, some_directions(model), source, seed=0), 4)
        print("look at", server.launch(blocks, None, 1), flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            blocks.close(verbose=False)


if __name__ == "__main__":
    main()
