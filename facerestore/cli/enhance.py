"""``facerestore enhance``: restore the faces of photos."""

from __future__ import annotations

import typer

from facerestore.cli.options import command
from facerestore.cli.request import PhotosRequest

EPILOG = """Examples:
facerestore enhance photo.jpg
facerestore enhance photo.jpg -o better.png --compare
facerestore enhance album -r -o restored --report report.json
facerestore enhance group.jpg --faces 0,2 --strength 0.7
facerestore enhance clip.mp4 --preview
facerestore enhance portrait.jpg --region eyes=0.3,mouth=1
facerestore enhance group.jpg --dial "0:strength=0.5;2:detail=0"
facerestore enhance portrait.jpg --mask face,hair
facerestore enhance old.tif --upscale 2 --format png
facerestore enhance scratched.jpg --repair --save-damaged found
facerestore enhance noisy.jpg --photo
facerestore enhance small.jpg --photo --upscale 2
facerestore enhance small.jpg --upscale 2 --background realesrnet.x2
facerestore enhance portrait.jpg --backend codeformer --fidelity 0.8
facerestore enhance album -r -o restored --device cuda --precision float32
facerestore enhance portrait.jpg --backend onnx:gpen.onnx --provider cuda
facerestore enhance group.jpg --backend lite,gpen --strength 0.5,1 --sheet sheet.jpg
cat in.jpg | facerestore enhance - -o - > out.jpg
Better weights:
The bundled weights are small. For better ones: 'facerestore weights list', then for example 'facerestore weights \
download gpen.bfr-512' (for non-commercial use)."""


@command(changes={"strength": {"kind": str}, "inputs": {"default": ()}})
def enhance(request: PhotosRequest) -> None:
    """Restore the faces of photos, and say what was done.

    For example 'facerestore enhance photo.jpg'; for a directory 'facerestore enhance photos -o restored'; with a
    picture of before and after 'facerestore enhance photo.jpg --compare'. More examples stand at the end.

    Each face is found, judged, restored and blended back. Unless a backend or weights are named, it has the installed
    network that suits its size and damage; which one and why is told where there is a choice, and in the report. Pixels
    outside the faces are not touched (unless --photo or --background is given), nor are faces that are sharp already,
    too small to know, or so large that they would lose detail (JPEG, HEIC, AVIF and lossy WebP files are encoded anew
    when a face in them was restored; the others keep every other pixel bit for bit). A photo in which nothing was
    restored is copied as it is. Camera raw becomes TIFF unless another format is asked for. Existing files are never
    overwritten unless you say so, and a bad file does not stop the rest.

    With --repair, cracks, scratches and creases in faces are found and filled first, as 'facerestore inpaint' does;
    faces that are kept are repaired all the same. --save-damaged DIR shows what was found.

    With --photo, the rest of the photo is cleaned too: noise and compression go from hair, clothes and walls as they go
    from faces. Every pixel may change then, in photos without faces as well.

    Videos and animated GIF, WebP and PNG are restored frame by frame, their faces steadied and all else kept.

    Results are marked in their XMP, for people and for programs (--no-mark leaves that out). In a directory, files that
    are marked so, whose name ends in _restored, or that the journal of an earlier run knows, are results and left out.
    """
    from facerestore.cli.beginning import begun

    request = begun(request)
    from facerestore.cli.photos import execute, refuse_lists

    if request.sheet is not None:
        from facerestore.cli.sheet import execute_sheet

        raise typer.Exit(execute_sheet(request, request.sheet))
    refuse_lists(request)
    raise typer.Exit(execute(request))
