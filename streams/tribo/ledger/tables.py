"""The ledger's tables on SQLite, and their version.

Integer keys inside: a source is its number in `sources`, a history its number in `histories`. `events` is append-only and
the truth; everything else but `rejects`, `raw` and `inputs` can be made again from it. Instants are UTC milliseconds.
Bodies (`state`, `body`, `counters`) are msgpack: structs as arrays of their fields in order, so that a later version may
append fields.

To change a table: raise VERSION, add the statements that lead there to MIGRATIONS, and say so in CHANGELOG.md.
"""

from __future__ import annotations

APPLICATION = 0x5472696F
"""What SQLite's header says whose file this is."""
VERSION = 2

FOUND, WITHDRAWN = 0, 1
STATUSES = ("found", "withdrawn")

TABLES = """
CREATE TABLE events (
  event INTEGER PRIMARY KEY,              -- in the order of arrival
  source INTEGER NOT NULL,
  id TEXT NOT NULL,
  history INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE UNIQUE INDEX events_once ON events (source, id);
CREATE INDEX events_of ON events (history);

CREATE TABLE conflicts (                  -- events whose (source, id) another content holds
  source INTEGER NOT NULL,
  id TEXT NOT NULL,
  history INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX conflicts_of ON conflicts (source, id);

CREATE TABLE histories (
  history INTEGER PRIMARY KEY,
  state BLOB,                             -- null: not folded yet
  version INTEGER NOT NULL,
  standards INTEGER NOT NULL,             -- the version of the standards it was folded with
  crashes INTEGER NOT NULL,
  set_aside INTEGER NOT NULL,             -- 1: the fold crashed three times on it; `tribo refold` takes it up again
  dirty INTEGER NOT NULL,                 -- 1: holds events that no fold has seen
  merged_into INTEGER,                    -- it is part of that history now
  deadlines BLOB                          -- what stands in `deadlines` for it: {source or 0: instant}
);
CREATE INDEX histories_dirty ON histories (history) WHERE dirty = 1;

CREATE TABLE deadlines (                  -- when time alone may change a history, at the earliest
  waits_on INTEGER NOT NULL,              -- 0, or the source that must have been heard beyond it
  at INTEGER NOT NULL,
  history INTEGER NOT NULL,
  PRIMARY KEY (waits_on, at, history)
) WITHOUT ROWID;

CREATE TABLE journeys (
  history INTEGER NOT NULL,
  journey TEXT NOT NULL,
  status TEXT NOT NULL,
  friction INTEGER NOT NULL,
  last_event_at INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (history, journey)
) WITHOUT ROWID;
CREATE INDEX journeys_worst ON journeys (friction) WHERE status = 'open' AND friction > 4;

CREATE TABLE findings (                   -- as they stand now
  history INTEGER NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  status INTEGER NOT NULL,                -- 0 found, 1 withdrawn
  found_at INTEGER NOT NULL,
  historical INTEGER NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (history, id)
) WITHOUT ROWID;
CREATE INDEX findings_latest ON findings (found_at);
CREATE INDEX findings_to_act_on ON findings (kind) WHERE status = 0 AND kind IN ('promise_at_risk', 'promise_unknown');

CREATE TABLE revisions (                  -- as they stood before
  history INTEGER NOT NULL,
  id TEXT NOT NULL,
  revision INTEGER NOT NULL,
  status INTEGER NOT NULL,
  found_at INTEGER NOT NULL,
  historical INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (history, id, revision)
) WITHOUT ROWID;
CREATE TRIGGER findings_keep AFTER UPDATE OF revision ON findings BEGIN
  INSERT INTO revisions VALUES (old.history, old.id, old.revision, old.status, old.found_at, old.historical, old.body);
END;

CREATE TABLE links (                      -- 'c:' customer, 'i:' item, 'r:' source/id that a retraction waits for
  name TEXT PRIMARY KEY,
  history INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE hubs (name TEXT PRIMARY KEY) WITHOUT ROWID;  -- names that would join too much, and join nothing

CREATE TABLE partitions (
  partition INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,               -- every transaction moves it from what it read to the next
  offset INTEGER NOT NULL,
  counters BLOB NOT NULL                  -- {key: [found, withdrawn]}; both only rise
);
CREATE TABLE inputs (                     -- files that are followed
  name TEXT PRIMARY KEY,
  inode INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  line INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE sources (
  source INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  watermark INTEGER,
  heard_at INTEGER,
  last_event_at INTEGER,
  skew INTEGER,
  applied INTEGER NOT NULL DEFAULT 0,
  duplicate INTEGER NOT NULL DEFAULT 0,
  conflict INTEGER NOT NULL DEFAULT 0,
  late INTEGER NOT NULL DEFAULT 0,
  rejected INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE raw (
  raw INTEGER PRIMARY KEY,
  received_at INTEGER NOT NULL,
  input TEXT NOT NULL,
  body BLOB NOT NULL,                     -- zlib
  mapping TEXT NOT NULL DEFAULT '',       -- what made events of it; '': they were canonical
  form TEXT NOT NULL DEFAULT 'json'       -- how records lie in it: wire/rejects.py, Raw
);
CREATE INDEX raw_age ON raw (received_at);
CREATE TABLE rejects (
  reject INTEGER PRIMARY KEY,
  received_at INTEGER NOT NULL,
  source TEXT NOT NULL,
  input TEXT NOT NULL,
  line INTEGER NOT NULL,
  reason TEXT NOT NULL,
  payload TEXT NOT NULL,
  encoding TEXT,
  mapping TEXT NOT NULL DEFAULT '',       -- what refused it; '': it should have been canonical
  place TEXT                              -- file:line of the mapping
);
CREATE INDEX rejects_age ON rejects (received_at);
CREATE TABLE deliveries (                 -- of signed requests, so that none is taken twice
  source TEXT NOT NULL,
  digest BLOB NOT NULL,
  received_at INTEGER NOT NULL,
  PRIMARY KEY (source, digest)
) WITHOUT ROWID;
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO partitions VALUES (0, 0, 0, x'80');
"""
MIGRATIONS: dict[int, str] = {
    1: """
ALTER TABLE raw ADD COLUMN mapping TEXT NOT NULL DEFAULT '';
ALTER TABLE raw ADD COLUMN form TEXT NOT NULL DEFAULT 'json';
ALTER TABLE rejects ADD COLUMN mapping TEXT NOT NULL DEFAULT '';
ALTER TABLE rejects ADD COLUMN place TEXT;
CREATE TABLE deliveries (
  source TEXT NOT NULL, digest BLOB NOT NULL, received_at INTEGER NOT NULL, PRIMARY KEY (source, digest)
) WITHOUT ROWID;
""",
}
"""Statements that lead from a version to the next."""
