"""Styles and serves the page: to this machine only, with nothing from elsewhere."""

import logging
from pathlib import Path

import gradio as gr
from gradio.themes import Base
from starlette.exceptions import HTTPException

from glow_app.errors import UserError

SESSIONS = 100
"""Sessions whose pictures are stored at the same time."""

CSS = Path(__file__).with_name("page.css")

# Text of every kind has a contrast of at least 4.5 to what is behind it, light and dark.
THEME = Base(
    primary_hue="indigo",
    neutral_hue="slate",
    radius_size="lg",
    # Fonts of the system: nothing is fetched from elsewhere.
    font=["system-ui", "Segoe UI", "Roboto", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
).set(
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_dark="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_hover_dark="*primary_700",
)


def launch(blocks: gr.Blocks, port: int | None, upload_mb: int) -> str:
    """Serves the page to this machine only, in a thread; returns its address.

    Raises:
        UserError: the port is taken.
    """
    logging.getLogger("uvicorn.error").addFilter(_not_of_a_closed_page)
    try:
        _, address, _ = blocks.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            inbrowser=False,
            prevent_thread_lock=True,
            quiet=True,
            max_file_size=f"{upload_mb}mb",
            state_session_capacity=SESSIONS,
            theme=THEME,
            css_paths=[CSS],
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            enable_monitoring=False,
        )
    except OSError as error:
        raise UserError(f"port={port} is taken, or none is free: choose another, port=7870, or leave it out") from error
    return address


def _not_of_a_closed_page(record: logging.LogRecord) -> bool:
    """Leaves out the error in which an answer ends whose page was closed or loaded again."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, RuntimeError) and isinstance(error.__cause__, HTTPException))
