"""What is said once to who is new: that there are better weights than the bundled ones."""

from __future__ import annotations

from facerestore.errors import WeightsError

BETTER_WEIGHTS = (
    "The bundled weights are small. For better ones: 'facerestore weights list', then for example"
    " 'facerestore weights download gpen.bfr-512' (for non-commercial use)."
)


def first_run() -> bool:
    """Say whether nothing was restored here before, and note that it was.

    Where nothing can be noted, such as in a container whose home is read-only, each run would be the first: none is.
    """
    from facerestore.weights.files import read_json, write_json
    from facerestore.weights.home import default_home

    note = default_home() / "hints.json"
    try:
        if read_json(note) is not None:
            return False
        write_json(note, {"better_weights": "told"})
    except WeightsError:
        return False
    return True
