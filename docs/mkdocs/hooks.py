"""What the pages need to be a site besides a repository."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PLOTS = "benchmarks/results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the benchmarks' plots, which lie outside of the pages' folder."""
    for plot in sorted((ROOT / PLOTS).glob("*.png")):
        files.append(File.generated(config, f"{PLOTS}/{plot.name}", abs_src_path=str(plot)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """In the repository they are beside the pages' folder, in the site within it."""
    return markdown.replace(f"](../{PLOTS}/", f"]({PLOTS}/")
