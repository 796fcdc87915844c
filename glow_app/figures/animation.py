"""Animations: GIF always, MP4 if an encoder is installed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from PIL.Image import Image as Picture
from torch import Tensor

from glow_app.figures import enlarged, to_picture
from glow_app.runtime.atomic import write_atomically


def save_gif(frames: Tensor, path: Path, frame_ms: int) -> None:
    """Writes frames in an endless loop, forward and back again.

    Args:
        frames: uint8 (N, C, H, W).
        path: path of the GIF.
        frame_ms: milliseconds per frame.
    """
    first, *others = (_picture(frame) for frame in _there_and_back(frames))
    write_atomically(
        path,
        lambda file: first.save(file, format="GIF", save_all=True, append_images=others, duration=frame_ms, loop=0),
    )


def save_mp4(frames: Tensor, path: Path, frame_ms: int) -> bool:
    """Writes the same as an H.264 film if ``ffmpeg`` is installed and can; returns whether it did."""
    encoder = shutil.which("ffmpeg")
    if encoder is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        for number, frame in enumerate(_there_and_back(frames)):
            _picture(frame).save(Path(folder, f"{number:05d}.png"))
        film = Path(folder, "film.mp4")
        # Most players refuse other pixel formats than yuv420p, which needs even sides.
        command = [encoder, "-loglevel", "error", "-framerate", f"{1000 / frame_ms:.6f}", "-i", f"{folder}/%05d.png"]
        command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p", str(film)]
        if subprocess.run(command, capture_output=True, check=False).returncode or not film.exists():
            return False
        content = film.read_bytes()
    write_atomically(path, lambda file: file.write(content))
    return True


def _there_and_back(frames: Tensor) -> Tensor:
    return torch.cat([frames, frames[1:-1].flip(0)])


def _picture(frame: Tensor) -> Picture:
    return to_picture(enlarged(frame[None])[0])
