"""Many machines: workers that each hold the networks, and one driver that gives out photos and keeps the journal.

`worker` is what runs on each, `driver` gives out the photos and knows nothing of Ray, `crew` is Ray.
"""
