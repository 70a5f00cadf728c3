"""Records of photos as a report has them, for tests of the gallery."""

from fakes import face_at, photo, pipeline

from facerestore.batch import PhotoJob, photo_report, run_jobs
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.config import OutputConfig, RestoreConfig
from facerestore.errors import ImageError
from facerestore.io import write_image

FACE, SECOND = face_at(10, 20), face_at(110, 30)
HOSTILE = """<img src=x onerror=alert(1)>"&' %41 #?;\u2028.png"""


def done(folder, *names, gallery, faces=(FACE, SECOND), config=None):
    """Restore noisy photos of these names into ``folder / "out"``, and return their records."""
    jobs = []
    for number, name in enumerate(names):
        write_image(folder / name, photo(seed=number))
        jobs.append(PhotoJob(folder / name, folder / "out" / name, (folder / name).with_suffix("")))
    line = pipeline(*faces, config=config or RestoreConfig(faces="0"))
    outcomes = run_jobs(jobs, line, options=OutputConfig(html=str(gallery), workers=1))
    return [photo_report(outcome) for outcome in outcomes]


def failed(path):
    """Return the record of a photo that could not be read."""
    job = PhotoJob(path, path.with_name(f"{path.stem}_restored.png"), path)
    return photo_report(
        PhotoOutcome(job, Status.FAILED, 0.1, error=ImageError(f"{path}: no image; give one"))
    )


def skipped(path):
    """Return the record of a photo whose result existed."""
    job = PhotoJob(path, path.with_name(f"{path.stem}_restored.png"), path)
    return photo_report(PhotoOutcome(job, Status.SKIPPED, 0.0))
