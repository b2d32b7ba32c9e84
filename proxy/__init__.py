"""Midstream: a proxy for streamed LLM answers that outlive their connections.

The words below are used everywhere with exactly this meaning: code, config, docs, metrics.

Stream
    One answer in the making, or made: an id, an owner, a dialect, a status, a journal.
Event
    One entry of a journal: an id, an SSE event name (may be empty) and data (one line of
    JSON, or ``[DONE]``).
Event id
    An event's place in its journal: 1, 2, 3 ... dense, never reused, the same in every
    transport.
Frame
    A name and data with no place yet: what a dialect reads from a provider, before numbering.
Journal
    The append-only record of a stream's events. It has an end, and it expires.
Producer
    The one task that reads a provider and writes one journal, under a lease.
Lease, Epoch
    The right to write a journal, until a moment on the store's clock; its number. A later
    epoch fences every earlier one.
Writer
    A producer's pen: numbers frames, keeps what the store has not accepted, fills gaps.
Committer
    What carries all that a worker's writers have ready to the store, a batch at a time.
Track
    The way to one part of the store that may be away by itself. The committer has one for each.
Line
    What one answer is heard on; mended after a cut, where its provider keeps the answer.
Recipe, Heritage
    What is kept of a request so that another worker can take its stream over; what that one has
    of the stream.
Passage, Courier
    A request whose one answer passes through whole and is kept by nobody: embeddings, a count of
    tokens; the one task that fetches that answer.
Cursor
    A reader's place in a journal. A reader pulls; nobody pushes to it.
Tail
    The newest events of one journal, held by a worker for the cursors it serves.
Session, Subscription
    One client on one WebSocket, to its end; one stream that it reads there.
Lane, Turn
    An order of responses on one Responses WebSocket, one after the other; one of them.
Bell
    A hint that a journal has grown. The journal is the truth, a lost ring costs only time.
Board, Sheet
    What all processes of one server have counted, in memory that they share; one's part of it.
Pace
    The times of one stream, while it is produced.
Span, Course, Peer
    What a trace has of one call, or of one answer; how an answer came, as its producer knows; who
    is behind a provider.
Particulars
    What a provider calls an answer, and why it says that it stopped.
Ending
    How a stream ended, exactly once: completed, failed, cancelled, interrupted.
Problem
    The facts of one failure, before a dialect gives it a shape.
Dialect
    A wire language of answers: ``openai.chat``, ``openai.responses``, ``anthropic.messages``.
Conversation, Step, Seal
    A request in no dialect's words; one thing that is said of an answer, in none's either; what
    proves reasoning to its maker.
Provider
    A configured account at something that speaks a dialect upstream.
Model, Target
    The name that clients ask for; a (provider, model) pair that can serve it.
Route, Candidate
    A model's targets, and in which order they are asked; a target with the request made for it.
Rest, Probe
    While a target that fails is not asked, by any worker; the one request that tries it then.
Leg
    What one target did for an answer: a stream has one for each that was asked.
Taking up, Seam
    Another target goes on with an answer from the text so far; the place where it does.
Key, Owner
    A credential of an application; who its streams belong to. Several keys may have one owner.
Quota, Limit, Pool
    What somebody may use; one number of that; all who share the number.
Hold, Standing
    What is set aside for one stream until its real use is known; what is left of a limit.
Claim
    An idempotency key that is used: it belongs to its owner, one request and one stream.
Detach
    What happens to a stream when its last reader leaves before the end.
Retention
    How long a stream can be resumed after its end.
Ledger
    What a namespace keeps beside its journals: claims, holds and what was used, lists, names of
    answers, running streams, the reports of its workers.
Sweep
    The round that finds streams whose producer died: they are taken over, or end.
Takeover, Recipe
    Another worker goes on with a stream whose worker died; what is kept of the request for that.
Worker, Supervisor
    A process that serves; the one that starts several, replaces those that die, and stops them.
Report
    What a worker says of itself every two seconds. One whose report has run out is dead, and
    nothing is kept of it.
Drain
    The way down of a worker: readers that can resume go on elsewhere, streams come to their end.

A token's way lies along the folders: ``upstream`` (tokens come), ``store`` (tokens wait),
``downstream`` (tokens leave). ``relay`` is the heart; ``wire`` (what bytes mean) and
``policy`` (who may do what) are pure.
"""
