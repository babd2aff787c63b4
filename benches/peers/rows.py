"""The rows of the table. A row is a kind of work; its goals are those of rwsgi."""

from __future__ import annotations

from benches.peers import changes, measures
from benches.peers.model import Goal, Row
from benches.peers.servers import CLOSING, Shape
from benches.wrk import BROWSER, Load

# uwsgi-http11 uses a thread for the life of each connection, and uwsgi-socket and gunicorn-sync close it
# after each answer: they take part only where that is no disadvantage.
KEEPING = (
    *("granian", "bjoern", "fastwsgi", "uwsgi", "gunicorn-gthread", "mod_wsgi-daemon"),
    *("mod_wsgi-embedded", "waitress", "cheroot"),
)
ALL = ("rwsgi", *KEEPING)
MANAGED = ("granian", "uwsgi", "gunicorn-gthread", "mod_wsgi-daemon", "mod_wsgi-embedded")
"""The servers that manage several processes."""
COST = ("cpu", "rate", "half", "most")
KIB = 1024
PAGE = Load(25, "/books/", waits=True)
SHAPES = (Shape(1, 1), Shape(1, 5), Shape(1, 25), Shape(5, 1), Shape(5, 5))
PAGE_SERVERS = ("rwsgi", "granian", "gunicorn-gthread", "uwsgi", "mod_wsgi-daemon")


def at_most(bound: float, of: str, *against: str, figure: str = "cpu") -> Goal:
    """A bound for the ratio to the best of these servers."""
    return Goal(f"≤ {bound} x {of}", figure, bound, against=against)


def hello() -> list[Row]:
    """The least work: the server dominates the measurement."""
    return [
        Row(
            "hello",
            "hello, 1x1, 32 keep-alive connections",
            measures.loaded,
            COST,
            ("bare", *ALL, "gunicorn-sync"),
            (
                at_most(0.5, "Granian", "granian"),
                at_most(1.4, "bare hyper", "bare"),
                at_most(1.0, "bjoern", "bjoern"),
            ),
        ),
        Row(
            "browser",
            "hello with 14 browser headers and 6 response headers",
            measures.loaded,
            COST,
            ("bare", *ALL, "gunicorn-sync"),
            (at_most(0.45, "Granian", "granian"), at_most(1.0, "bjoern", "bjoern")),
            application="plain:fields",
            load=Load(fields=BROWSER),
        ),
        Row(
            "connection",
            "a new connection for each hello",
            measures.loaded,
            COST,
            ("rwsgi", *KEEPING, "uwsgi-socket", "gunicorn-sync"),
            (at_most(1.0, "the best peer", *KEEPING, "uwsgi-socket", "gunicorn-sync"),),
            load=Load(fields={"Connection": "close"}),
            options={"uwsgi": CLOSING},
        ),
        Row(
            "lone",
            "latency of a lone request: one connection, one request at a time",
            measures.loaded,
            ("half", "most", "cpu", "rate"),
            ("bare", *ALL, "uwsgi-http11"),
            (at_most(1.1, "the best peer with processes", *MANAGED, "uwsgi-http11", figure="half"),),
            load=Load(1),
        ),
        Row(
            "cores",
            "one Python process, several cores for its front: not pinned, 64 connections",
            measures.loaded,
            ("rate", "cpu", "half", "most"),
            ALL,
            (Goal("more requests/s than every peer", "rate", 1.0, against=KEEPING, at_least=True),),
            load=Load(64),
            options={"granian": "--runtime-threads 2", "uwsgi": "--http-processes 2"},
            pinned=False,
        ),
    ]


def bodies() -> list[Row]:
    """Bodies: every byte passes through the server."""
    return [
        Row(
            "post",
            "POST of 64 KiB, read and answered",
            measures.loaded,
            COST,
            ALL,
            (at_most(0.7, "Granian", "granian"),),
            application="plain:post",
            load=Load(post=64 * KIB),
            expected=b"65536 bytes\n",
        ),
        Row(
            "large",
            "1 MiB of bytes",
            measures.loaded,
            COST,
            ("bare", *ALL),
            (at_most(1.2, "bare hyper", "bare"),),
            application="plain:large",
            load=Load(4),
            expected=b"x" * KIB * KIB,
        ),
        Row(
            "file",
            "10 MiB by wsgi.file_wrapper",
            measures.loaded,
            COST,
            ALL,
            (at_most(0.7, "the best peer", *KEEPING),),
            application="plain:file",
            load=Load(4),
            expected=b"x" * 10 * KIB * KIB,
            options={"uwsgi": "--offload-threads 1"},
        ),
        Row(
            "chunks",
            "100 chunks of 1 KiB",
            measures.loaded,
            COST,
            ("bare", *ALL),
            (at_most(1.0, "the best peer", *KEEPING),),
            application="plain:chunks",
            expected=b"x" * 100 * KIB,
        ),
    ]


def sleepers() -> list[Row]:
    """Calls that wait, as for a database."""
    return [
        Row(
            f"sleep-{milliseconds}",
            f"25 threads, each call asleep for {milliseconds} ms, 25 connections",
            measures.sleeping(milliseconds / 1000),
            ("share", "cpu", "half", "most"),
            ALL,
            (
                Goal(f"≥ {share} % of the ideal rate", "share", share, at_least=True),
                at_most(0.6, "Granian", "granian"),
            ),
            application="plain:sleeping",
            load=Load(25, f"/?{milliseconds / 1000}"),
            shapes=(Shape(1, 25),),
            stretch=4,
        )
        for milliseconds, share in ((50, 97), (2, 95))
    ]


def pages() -> list[Row]:
    """The configurations of the article, and the measurement of its commenter."""
    threads = tuple(
        goal
        for shape in ("1x5", "1x25")
        for goal in (
            Goal(f"CPU {shape} ≤ 1.15 x 1x1", "cpu", 1.15, f"rwsgi {shape}", ("rwsgi 1x1",)),
            Goal(f"p99 {shape} not worse than 1x1", "most", 1.0, f"rwsgi {shape}", ("rwsgi 1x1",)),
        )
    )
    waiting = (
        Goal("full concurrency: 1x5 ≥ 4.5 x 1x1", "rate", 4.5, "rwsgi 1x5", ("rwsgi 1x1",), at_least=True),
    )
    kinds = (
        ("queries", "page", "Django page with 15 queries", threads, 4),
        ("plain", "page-plain", "the same page without SQL", threads, 4),
        ("slow", "page-slow", "the same page, each query 20 ms slower", waiting, 5),
    )
    return [
        Row(
            name,
            f"{what}, 25 connections",
            measures.page,
            ("cpu", "rate", "half", "most", "waited", "switched", "pss"),
            PAGE_SERVERS,
            goals,
            application="page:application",
            load=PAGE,
            shapes=SHAPES,
            expected=None,
            environment={"PAGE": page},
            pinned=False,
            # Requests left over from a warm-up would keep slow queries busy for a long time.
            warm=page != "slow",
            stretch=stretch,
        )
        for page, name, what, goals, stretch in kinds
    ]


def crowds() -> list[Row]:
    """Many clients, and a few that delay the others."""
    return [
        Row(
            "fairness",
            "4x1, 3 busy for 2 s, 61 others that think for 5 ms",
            measures.fairness,
            ("half", "most", "longest"),
            (*ALL, "gunicorn-sync", "uwsgi-socket"),
            (
                Goal("longest of the others ≤ 15 ms", "longest", 15),
                Goal(
                    "no peer better",
                    "longest",
                    1.0,
                    against=(*KEEPING, "gunicorn-sync", "uwsgi-socket"),
                ),
            ),
            application="plain:sleeping",
            load=Load(61, pause=5),
            shapes=(Shape(4, 1),),
            pinned=False,
        ),
        Row(
            "dripping",
            "2x2, 200 clients that drip bodies",
            measures.dripping,
            ("kept", "without", "rate"),
            ALL,
            (Goal("≥ 95 % of the rate without them", "kept", 95, at_least=True),),
            application="plain:reading",
            shapes=(Shape(2, 2),),
        ),
        Row(
            "idle",
            "5,000 idle keep-alive connections",
            measures.idle,
            ("kept", "without", "rate", "kib"),
            ALL,
            (
                Goal("no loss of rate (≥ 97 %)", "kept", 97, at_least=True),
                Goal("≤ 3 KiB each", "kib", 3),
            ),
            options={
                "rwsgi": "--keep-alive 75s",
                "granian": "--backlog 8192 --backpressure 8192",
                "uwsgi": "--http-timeout 75",
            },
        ),
        Row(
            "mixed",
            "open loop at 70 % load, 5 ms with 1 % of 500 ms, 4x1; the times are those of the short ones",
            measures.mixed,
            ("half", "most", "longest"),
            (*ALL, "gunicorn-sync", "uwsgi-socket"),
            (
                at_most(0.3, "gunicorn gthread", "gunicorn-gthread", figure="most"),
                at_most(0.3, "Granian", "granian", figure="most"),
            ),
            application="plain:sleeping",
            shapes=(Shape(4, 1),),
            pinned=False,
            stretch=5,
        ),
    ]


def django() -> list[Row]:
    """The cost of a real site after its start."""
    unshared = ("gunicorn-gthread", "uwsgi-lazy", "granian", "mod_wsgi-daemon")
    shared = ("gunicorn-preload", "uwsgi")
    return [
        Row(
            "start",
            "Django 5x1, from the start to the first answer",
            measures.start,
            ("first",),
            ("rwsgi", "rwsgi-unshared", *unshared, *shared),
            (
                at_most(0.6, "the best without preload", *unshared, figure="first"),
                at_most(1.0, "the best with preload", *shared, figure="first"),
            ),
            application="page:application",
            load=PAGE,
            shapes=(Shape(5, 1),),
            expected=None,
            pinned=False,
            warm=False,
        ),
        Row(
            "memory",
            "Django 5x1, the whole tree after load",
            measures.weight,
            ("pss",),
            ("rwsgi", "rwsgi-unshared", *unshared, *shared),
            (
                at_most(0.7, "gunicorn --preload", "gunicorn-preload", figure="pss"),
                at_most(0.45, "Granian", "granian", figure="pss"),
            ),
            application="page:application",
            # New connections are distributed to all processes; kept ones may all belong to one.
            load=Load(25, "/books/", fields={"Connection": "close"}, waits=True),
            shapes=(Shape(5, 1),),
            expected=None,
            pinned=False,
            warm=False,
            stretch=3,
            options={"rwsgi": "--warmup /books/", "uwsgi": CLOSING, "uwsgi-lazy": CLOSING},
        ),
    ]


def replacing() -> list[Row]:
    """The effect on clients of processes that start and end."""
    goals = (
        Goal("no request fails", "failures", 0),
        Goal("no interval without an answer is longer than 20 ms", "gap", 20),
    )
    shown = ("failures", "gap", "rate")
    return [
        Row(
            "recycle",
            "2x1, a process is replaced after 500 requests; 8 clients",
            changes.watched(None),
            shown,
            ("rwsgi", "gunicorn-gthread", "uwsgi", "mod_wsgi-daemon"),
            goals,
            shapes=(Shape(2, 1),),
            options={
                "rwsgi": "--max-requests-per-child 500",
                "gunicorn-gthread": "--max-requests 500",
                "uwsgi": "--max-requests 500",
                "mod_wsgi-daemon": "--maximum-requests 500",
            },
            pinned=False,
            stretch=3,
        ),
        Row(
            "reload",
            "2x1, a reload each second; 8 clients",
            changes.watched(changes.hang_up),
            shown,
            ("rwsgi", "gunicorn-gthread", "uwsgi", "granian"),
            goals,
            shapes=(Shape(2, 1),),
            pinned=False,
            stretch=3,
        ),
    ]


GROUPS = (hello, bodies, sleepers, pages, crowds, django, replacing)
ROWS = {row.name: row for group in GROUPS for row in group()}
