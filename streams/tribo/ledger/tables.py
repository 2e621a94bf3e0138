"""The ledger's tables, on SQLite and on PostgreSQL, and their version.

Integer keys inside: a source is its number in `sources`, a history its number in `histories`. `events` is append-only and
the truth; everything else but `conflicts`, `rejects`, `raw`, `inputs` and `settings` can be made again from it. Instants are UTC
milliseconds, flags 0 or 1. Bodies (`state`, `body`, `counters`) are msgpack: structs as arrays of their fields in order, so
that a later version may append fields.

Who may ask what: `journeys` and `findings` repeat, beside their bodies, the fields that people filter by, so that no body is
opened for a row that isn't shown. Journeys: status, friction, delight, opened_at, last_event_at, synthetic, and `touchpoints` as bits
(TOUCHPOINT_BITS), `promises` likewise (PROMISE_BITS), whether the customer is `known`, and `several`. Findings: kind, at, touchpoint, team,
from_team, level, standard, promise, topic, channel, item, journey, points. A journey's teams and
topics are those of its findings. These columns cost 0.5 µs of CPU an event on SQLite; an index costs about as much again.

`partition` and `changed` of a row say which transaction wrote it last: the partition, and what that partition's `version`
became. Numbers of one partition only rise, and a row's are visible only once all lower ones of its partition are: what
publishes findings and journeys goes along them (`Reader.changes`).

One text serves both databases: NUMBER, BLOB and SERIAL stand for each one's types, keys come first in each table and in the
order of KEYS. What an index COVERS is kept in it on SQLite, so that counts and filters open no row, which here means a look at another
place of the file; PostgreSQL, whose index entries may not exceed a third of a page, leaves it out.

To change a table: raise VERSION, change TABLES, add the statements that lead there to MIGRATIONS, and say so in CHANGELOG.md.
"""

from __future__ import annotations

from tribo_schemas.journey import PROMISE_STATES

APPLICATION = 0x5472696F
"""What SQLite's header says whose file this is; on PostgreSQL, what workers that make the tables lock."""
VERSION = 11

FOUND, WITHDRAWN = 0, 1
STATUSES = ("found", "withdrawn")
TOUCHPOINT_BITS = {"purchase": 1, "billing": 2, "returns": 4, "service": 8}
PROMISE_BITS = {name: 1 << bit for bit, name in enumerate((*PROMISE_STATES, "moved", "moved_late", "early"))}

TABLES = """
CREATE TABLE promises (                   -- every promise as it stands, repeated from the states, for who lists them
  history NUMBER NOT NULL,
  item TEXT NOT NULL,
  promise TEXT NOT NULL,
  journey TEXT NOT NULL,
  touchpoint TEXT NOT NULL,
  team TEXT,                              -- who had the item when it was kept; before that, who has it
  owner TEXT,
  customer TEXT,
  state TEXT NOT NULL,                    -- a journey row's word
  at_risk NUMBER NOT NULL,                -- at risk, or unknown
  told NUMBER NOT NULL,                   -- the customer heard, without a new due, that it would be late
  moved NUMBER NOT NULL,
  moved_late NUMBER NOT NULL,
  asked NUMBER NOT NULL,
  first_due NUMBER NOT NULL,
  due NUMBER NOT NULL,
  synthetic NUMBER NOT NULL,
  PRIMARY KEY (history, item, promise)
) CLUSTERED;
CREATE INDEX promises_due ON promises (state, due) COVERS (promise, at_risk);
CREATE TABLE days (                       -- how a partition's tallies stood when a UTC day began, less imports
  partition NUMBER NOT NULL,
  day NUMBER NOT NULL,                    -- days since 1970
  tallies BLOB NOT NULL,
  PRIMARY KEY (partition, day)
) CLUSTERED;
CREATE TABLE events (
  event SERIAL,
  source NUMBER NOT NULL,
  id TEXT NOT NULL,
  history NUMBER NOT NULL,
  body BLOB NOT NULL                      -- empty: not come yet, but a retraction of it has; the history is the retraction's
);
CREATE UNIQUE INDEX events_once ON events (source, id);
CREATE INDEX events_of ON events (history);

CREATE TABLE conflicts (                  -- events whose (source, id) another content holds
  source NUMBER NOT NULL,
  id TEXT NOT NULL,
  received_at NUMBER NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX conflicts_of ON conflicts (source, id);

CREATE TABLE histories (
  history NUMBER NOT NULL PRIMARY KEY,
  version NUMBER NOT NULL,                -- rises with every write: what a worker knows of it holds while this is the same
  partition NUMBER NOT NULL,              -- who wrote it last, and wakes it
  state BLOB,                             -- null: not folded yet
  standards NUMBER NOT NULL,              -- the version of the standards it was folded with
  crashes NUMBER NOT NULL,
  set_aside NUMBER NOT NULL,              -- 1: the fold crashed three times on it; `tribo refold` takes it up again
  dirty NUMBER NOT NULL,                  -- 1: holds events that no fold has seen
  merged_into NUMBER,                     -- it is part of that history now
  deadlines BLOB,                         -- what stands in `deadlines` for it: {source or 0: instant}
  touched_at NUMBER NOT NULL DEFAULT 0    -- by the receive clock
);
CREATE INDEX histories_dirty ON histories (history) WHERE dirty = 1;
CREATE INDEX histories_merged ON histories (merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE deadlines (                  -- when time alone may change a history, at the earliest
  partition NUMBER NOT NULL,
  waits_on NUMBER NOT NULL,               -- 0, or the source that must have been heard beyond it
  at NUMBER NOT NULL,
  history NUMBER NOT NULL,
  PRIMARY KEY (partition, waits_on, at, history)
) CLUSTERED;

CREATE TABLE journeys (
  history NUMBER NOT NULL,
  journey TEXT NOT NULL,
  partition NUMBER NOT NULL,
  changed NUMBER NOT NULL,
  revision NUMBER NOT NULL,               -- rises with each write of this journey, in whatever history it stands
  status TEXT NOT NULL,
  friction NUMBER NOT NULL,
  delight NUMBER NOT NULL,
  opened_at NUMBER NOT NULL,
  last_event_at NUMBER NOT NULL,
  touchpoints NUMBER NOT NULL,
  synthetic NUMBER NOT NULL,
  body BLOB NOT NULL,
  promises NUMBER NOT NULL DEFAULT 0,
  known NUMBER NOT NULL DEFAULT 0,        -- 1: it has a customer
  several NUMBER NOT NULL DEFAULT 0,      -- 1: its history had others when it was written; of several the latest has it
  PRIMARY KEY (history, journey)
) CLUSTERED;
CREATE INDEX journeys_worst ON journeys (friction) WHERE status = 'open' AND friction > 4;
CREATE INDEX journeys_together ON journeys (history) WHERE several = 1;

CREATE TABLE gone (                       -- journeys and findings that are no more, until that is published
  partition NUMBER NOT NULL,
  changed NUMBER NOT NULL,
  kind TEXT NOT NULL,                     -- journey, finding
  id TEXT NOT NULL,
  revision NUMBER NOT NULL,
  PRIMARY KEY (partition, changed, kind, id)
) CLUSTERED;

CREATE TABLE findings (                   -- as they stand now
  history NUMBER NOT NULL,
  id TEXT NOT NULL,
  partition NUMBER NOT NULL,
  changed NUMBER NOT NULL,
  revision NUMBER NOT NULL,
  status NUMBER NOT NULL,                 -- 0 found, 1 withdrawn
  found_at NUMBER NOT NULL,               -- by the receive clock (at event time in an import): found, or withdrawn, then
  historical NUMBER NOT NULL,
  kind TEXT NOT NULL,
  at NUMBER NOT NULL,
  touchpoint TEXT NOT NULL,
  team TEXT,
  standard TEXT,
  topic TEXT,
  channel TEXT,
  item TEXT NOT NULL,
  journey TEXT NOT NULL,
  points NUMBER,
  body BLOB NOT NULL,
  from_team TEXT,
  level TEXT,
  promise TEXT,
  PRIMARY KEY (history, id)
) CLUSTERED;
CREATE INDEX findings_latest ON findings (found_at);
CREATE INDEX findings_of_kind ON findings (kind, at)
  COVERS (status, touchpoint, team, from_team, topic, channel, standard, promise, level, points, journey);
CREATE INDEX findings_to_act_on ON findings (kind) WHERE status = 0 AND kind IN ('promise_at_risk', 'promise_unknown');

CREATE TABLE revisions (                  -- as they stood before
  history NUMBER NOT NULL,
  id TEXT NOT NULL,
  revision NUMBER NOT NULL,
  partition NUMBER NOT NULL,
  changed NUMBER NOT NULL,
  status NUMBER NOT NULL,
  found_at NUMBER NOT NULL,
  historical NUMBER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (history, id, revision)
) CLUSTERED;

CREATE TABLE links (                      -- 'c:' customer or 'i:' item: the history it was first seen in (see merged_into)
  name TEXT NOT NULL PRIMARY KEY,
  history NUMBER NOT NULL
) CLUSTERED;
CREATE TABLE hubs (name TEXT NOT NULL PRIMARY KEY) CLUSTERED;  -- names that would join too much, and join nothing

CREATE TABLE partitions (
  partition NUMBER NOT NULL PRIMARY KEY,
  version NUMBER NOT NULL,                -- every transaction moves it from what it read to the next
  next_offset NUMBER NOT NULL,
  counters BLOB NOT NULL,                 -- {key: [found, withdrawn]}; both only rise
  historical BLOB,                        -- the same, of imports alone: part of `counters`
  outcomes BLOB,                          -- {standard: [[at, 0 missed or 1 met]]}, the latest last; not of imports
  published NUMBER                        -- the number up to which changes were published; null: none
);
CREATE TABLE inputs (                     -- files that are followed
  name TEXT NOT NULL PRIMARY KEY,
  inode NUMBER NOT NULL,
  position NUMBER NOT NULL,
  line NUMBER NOT NULL
) CLUSTERED;
CREATE TABLE sources (
  source SERIAL,
  name TEXT NOT NULL UNIQUE
);
CREATE TABLE heard (                      -- what a partition heard of a source, and what became of its events
  partition NUMBER NOT NULL,
  source NUMBER NOT NULL,
  watermark NUMBER,
  heard_at NUMBER,
  last_event_at NUMBER,
  skew NUMBER,
  applied NUMBER NOT NULL,
  duplicate NUMBER NOT NULL,
  conflict NUMBER NOT NULL,
  late NUMBER NOT NULL,
  rejected NUMBER NOT NULL,
  erased NUMBER NOT NULL DEFAULT 0,
  PRIMARY KEY (partition, source)
) CLUSTERED;
CREATE TABLE erased (                     -- keyed hashes of what must not come back: events, items and customers
  hash BLOB NOT NULL PRIMARY KEY,
  at NUMBER NOT NULL                      -- what is not later than this is what was erased
) CLUSTERED;
CREATE TABLE raw (
  raw SERIAL,
  received_at NUMBER NOT NULL,
  input TEXT NOT NULL,
  body BLOB NOT NULL,                     -- zlib
  mapping TEXT NOT NULL,                  -- what made events of it; '': they were canonical
  form TEXT NOT NULL                      -- how records lie in it: wire/rejects.py, Raw
);
CREATE INDEX raw_age ON raw (received_at);
CREATE TABLE rejects (
  reject SERIAL,
  received_at NUMBER NOT NULL,
  source TEXT NOT NULL,
  input TEXT NOT NULL,
  line NUMBER NOT NULL,
  reason TEXT NOT NULL,
  payload TEXT NOT NULL,
  encoding TEXT,
  mapping TEXT NOT NULL,                  -- what refused it; '': it should have been canonical
  place TEXT                              -- file:line of the mapping
);
CREATE INDEX rejects_age ON rejects (received_at);
CREATE TABLE deliveries (                 -- of signed requests, so that none is taken twice
  source TEXT NOT NULL,
  digest BLOB NOT NULL,
  received_at NUMBER NOT NULL,
  PRIMARY KEY (source, digest)
) CLUSTERED;
CREATE TABLE settings (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) CLUSTERED;
"""
KEYS = {
    "histories": ("history",), "deadlines": ("partition", "waits_on", "at", "history"), "journeys": ("history", "journey"),
    "erased": ("hash",), "gone": ("partition", "changed", "kind", "id"), "findings": ("history", "id"),
    "promises": ("history", "item", "promise"), "days": ("partition", "day"), "links": ("name",), "hubs": ("name",),
    "inputs": ("name",), "heard": ("partition", "source"), "settings": ("name",),
    "deliveries": ("source", "digest"),
}  # fmt: skip
"""The keys of the tables whose rows are written again; `put` and `remove` go by them."""
SERIALS = {"events": "event", "sources": "source", "raw": "raw", "rejects": "reject"}
"""The columns whose numbers the database gives; rows are added without them."""

TRIGGERS = {
    "sqlite": """
CREATE TRIGGER findings_keep AFTER UPDATE OF revision ON findings BEGIN
  INSERT INTO revisions VALUES
    (old.history, old.id, old.revision, old.partition, old.changed, old.status, old.found_at, old.historical, old.body);
END;
""",
    "postgres": """
CREATE FUNCTION findings_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO revisions VALUES
    (old.history, old.id, old.revision, old.partition, old.changed, old.status, old.found_at, old.historical, old.body);
  RETURN NULL;
END $$;
CREATE TRIGGER findings_keep AFTER UPDATE OF revision ON findings FOR EACH ROW EXECUTE FUNCTION findings_keep();
CREATE SEQUENCE history_numbers INCREMENT BY 1000;
CREATE INDEX journeys_changed ON journeys (partition, changed);
CREATE INDEX findings_changed ON findings (partition, changed);
CREATE INDEX revisions_changed ON revisions (partition, changed);
ALTER TABLE histories SET (fillfactor = 60);
ALTER TABLE partitions SET (fillfactor = 50);
""",
}
"""What each database says in its own way. SQLite publishes nothing, and keeps no index for it."""
HISTORIES_AT_ONCE = 1000
"""The increment of `history_numbers`: how many numbers a worker takes at a time."""

MIGRATIONS: dict[int, str] = {
    10: """
ALTER TABLE journeys ADD COLUMN several NUMBER NOT NULL DEFAULT 0;
UPDATE journeys SET several = 1 WHERE history IN (SELECT history FROM journeys GROUP BY history HAVING count(*) > 1);
CREATE INDEX journeys_together ON journeys (history) WHERE several = 1;
""",
}
"""By version, the statements that lead to the next, for both databases."""
OLDEST = 10
"""Earlier ones were never released, and their states lie otherwise: they are refused."""
