-- Times are Unix milliseconds, hours and days are counted from 1970 in UTC. The numbers of states, phases and reasons
-- are those of codes.rs.

CREATE TABLE monitor (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    target TEXT NOT NULL,
    -- The hour in which it last ran.
    seen INTEGER NOT NULL,
    -- The account that its time is booked to; NULL if it does not run.
    account INTEGER
);

CREATE TABLE state (
    monitor INTEGER PRIMARY KEY,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    -- The confirmed state: 1 for up, 0 for down, NULL before there is one.
    up INTEGER,
    degraded INTEGER NOT NULL,
    maintenance INTEGER NOT NULL
);

CREATE TABLE incident (
    monitor INTEGER NOT NULL,
    began INTEGER NOT NULL,
    reported INTEGER,
    ended INTEGER,
    end_reason INTEGER,
    phase INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    error TEXT NOT NULL,
    relapses INTEGER NOT NULL,
    -- The failed checks that confirmed it.
    checks BLOB NOT NULL,
    PRIMARY KEY (monitor, began)
) WITHOUT ROWID;

-- The last checks of each monitor.
CREATE TABLE recent (
    monitor INTEGER PRIMARY KEY,
    checks BLOB NOT NULL
);

-- The hour and the day of each monitor that have not ended. The day is without that hour.
CREATE TABLE unfinished (
    monitor INTEGER PRIMARY KEY,
    hour INTEGER NOT NULL,
    hour_rollup BLOB NOT NULL,
    day INTEGER NOT NULL,
    day_rollup BLOB NOT NULL
);

-- Hours and days are added at the end, which keeps the pages full.
CREATE TABLE hour (
    hour INTEGER NOT NULL,
    monitor INTEGER NOT NULL,
    rollup BLOB NOT NULL,
    PRIMARY KEY (hour, monitor)
) WITHOUT ROWID;

CREATE TABLE day (
    day INTEGER NOT NULL,
    monitor INTEGER NOT NULL,
    rollup BLOB NOT NULL,
    PRIMARY KEY (day, monitor)
) WITHOUT ROWID;

-- What happened since the last fold.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    ended INTEGER NOT NULL,
    -- Milliseconds that it covers.
    millis INTEGER NOT NULL,
    events BLOB NOT NULL
);
