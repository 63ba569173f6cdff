BEGIN TRANSACTION;
CREATE TABLE accounts (
            hash TEXT PRIMARY KEY, usage INTEGER NOT NULL,
            day INTEGER NOT NULL, usage_daily INTEGER NOT NULL,
            week INTEGER NOT NULL, usage_weekly INTEGER NOT NULL,
            month INTEGER NOT NULL, usage_monthly INTEGER NOT NULL,
            reserved INTEGER NOT NULL, parallel INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "accounts" VALUES('h1',0,0,0,0,0,0,0,0,0);
CREATE TABLE expired (
            id TEXT PRIMARY KEY, hour INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL,
            model TEXT NOT NULL, windows TEXT NOT NULL, sums TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE gone (hash TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, at REAL NOT NULL, size INTEGER NOT NULL,
            version INTEGER NOT NULL, body BLOB NOT NULL);
INSERT INTO "kept" VALUES('resp_1','h1',1767614400.0,7,2,X'7B2261223A317D');
CREATE TABLE keys (
            n INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
            name TEXT NOT NULL, label TEXT NOT NULL, kind TEXT NOT NULL, disabled INTEGER NOT NULL,
            "limit" INTEGER, limit_reset TEXT, allowed_providers TEXT, allowed_models TEXT,
            rpm INTEGER, tpm INTEGER, max_parallel INTEGER,
            created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, expires_at INTEGER);
INSERT INTO "keys" VALUES(1,'h1',1,'one','rtr_live_…h1','regular',0,100000,NULL,NULL,NULL,NULL,NULL,NULL,1,0,NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "meta" VALUES('kept_size',7);
INSERT INTO "meta" VALUES('version',1);
CREATE TABLE owners (owner TEXT PRIMARY KEY, seen INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "owners" VALUES('a',1000000);
CREATE TABLE reservations (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, key TEXT, attempt INTEGER NOT NULL,
            micro INTEGER NOT NULL, input INTEGER NOT NULL, output INTEGER NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL, taken TEXT NOT NULL,
            seen TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE settled (
            owner TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (owner, seq)) WITHOUT ROWID;
CREATE TABLE small (
            name TEXT PRIMARY KEY, value BLOB NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE totals (
            hour INTEGER NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, unpriced INTEGER NOT NULL, micro INTEGER NOT NULL,
            input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
            cache_write_1h INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
            audio_in INTEGER NOT NULL, audio_out INTEGER NOT NULL,
            image_in INTEGER NOT NULL, image_out INTEGER NOT NULL,
            PRIMARY KEY (hour, provider, model)) WITHOUT ROWID;
CREATE TABLE traces (
            n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
            provider TEXT NOT NULL, model TEXT NOT NULL, started_at REAL NOT NULL,
            ended_at REAL NOT NULL, status INTEGER NOT NULL, input INTEGER NOT NULL,
            output INTEGER NOT NULL, micro INTEGER, trace TEXT NOT NULL);
CREATE TABLE usage (
            hour INTEGER NOT NULL, key TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL,
            requests INTEGER NOT NULL, unpriced INTEGER NOT NULL, micro INTEGER NOT NULL,
            input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL,
            cache_write_1h INTEGER NOT NULL, output INTEGER NOT NULL, reasoning INTEGER NOT NULL,
            audio_in INTEGER NOT NULL, audio_out INTEGER NOT NULL,
            image_in INTEGER NOT NULL, image_out INTEGER NOT NULL,
            PRIMARY KEY (hour, key, provider, model)) WITHOUT ROWID;
CREATE TABLE windows (
            name TEXT PRIMARY KEY, slots BLOB NOT NULL, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX keys_by_version ON keys (version);
CREATE INDEX usage_by_key ON usage (key, hour);
CREATE INDEX kept_by_age ON kept (at, id, size);
COMMIT;
PRAGMA user_version = 2;
