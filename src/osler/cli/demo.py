"""``osler demo``: the main job on a real scan that is already on this machine."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from osler.cli.ask import run_ask
from osler.cli.failure import guarded
from osler.cli.outputs import Outputs
from osler.errors import FileFormatError

DEMO_FILE = "J2K_pixelrep_mismatch.dcm"
"""A real head CT slice (512x512, JPEG 2000) among pydicom's own test files."""

DEMO_QUESTION = "What kind of scan is this, and which part of the body does it show?"
_DEFAULT_PICTURE = Path("osler-demo.png")


def demo_scan() -> Path:
    """Returns the path of the demonstration scan, a file of the installed pydicom.

    Raises:
        FileFormatError: If this pydicom came without its test files.
    """
    import pydicom

    path = Path(pydicom.__file__).parent / "data" / "test_files" / DEMO_FILE
    if not path.is_file():
        raise FileFormatError(
            f"The demonstration scan {DEMO_FILE!r} is not in this pydicom {pydicom.__version__}.",
            next_step="Install pydicom from its wheel, or ask about a scan of your own: osler ask PATH.",
        )
    return path


@guarded
def demo(
    picture: Annotated[Path, typer.Option(help="PNG to write.")] = _DEFAULT_PICTURE,
    force: Annotated[bool, typer.Option("--force", help="Let --picture overwrite any file.")] = False,
) -> None:
    """Answer a question about a real CT slice that comes with pydicom; needs no download.

    Example: osler demo --picture demo.png
    """
    from osler.tasks.ask import AskRequest

    outputs = Outputs.checked(picture=picture, force=force)
    path = demo_scan()
    command = f"osler ask {shlex.quote(str(path))} {shlex.quote(DEMO_QUESTION)} --picture {shlex.quote(str(picture))}"
    typer.echo(f"A real head CT slice that pydicom brings along. The same by hand:\n\n  {command}\n")
    typer.echo(f"{DEMO_QUESTION}\n")
    run_ask(AskRequest(question=DEMO_QUESTION, path=path), outputs=outputs, as_json=False, quiet=False)
