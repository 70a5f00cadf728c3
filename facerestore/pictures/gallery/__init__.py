"""The gallery of a run: one folder that a browser shows from disk, without a network and at any number of photos.

``thumbnails`` writes the small pictures of a photo as soon as it is done, and ``page`` the pages, out of the records
of reports (``facerestore.batch.report.photo_report``). Pictures are found by a hash of the photo's path, so that a
later run, or another program that keeps those records, writes the pages anew without the photos.
"""
