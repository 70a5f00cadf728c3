"""Many photos: what to do, doing it, and telling it."""

from facerestore.batch.journal import Journal
from facerestore.batch.outcome import PhotoOutcome, Status
from facerestore.batch.photo import Work, do_job
from facerestore.batch.plan import STREAM, BatchPlan, PhotoJob, plan_jobs
from facerestore.batch.report import Summary, photo_report, report_texts, run_report, summarise, write_report
from facerestore.batch.run import check_options, missing_photos, run_jobs, sweep_folders
from facerestore.batch.selecting import Selection, kinds_of, known_results, parse_shard, read_list
from facerestore.batch.settings import settings_of
from facerestore.batch.standing import Asked, Look
from facerestore.batch.watch import Watch

__all__ = [
    "STREAM",
    "Asked",
    "BatchPlan",
    "Journal",
    "Look",
    "PhotoJob",
    "PhotoOutcome",
    "Selection",
    "Status",
    "Summary",
    "Watch",
    "Work",
    "check_options",
    "do_job",
    "kinds_of",
    "known_results",
    "missing_photos",
    "parse_shard",
    "photo_report",
    "plan_jobs",
    "read_list",
    "report_texts",
    "run_jobs",
    "run_report",
    "settings_of",
    "summarise",
    "sweep_folders",
    "write_report",
]
