"""The service behind ``facerestore serve``: HTTP in front, processes that restore behind it, a page at ``/``.

The front (``app``) knows HTTP and loads no network; ``crew`` hands orders to processes (``worker``), each of which has
networks of its own and does what ``work`` says. What a request may choose is declared by ``facerestore.config`` alone.
"""
