-- An early schema of version 1: fewer tables and columns.
CREATE TABLE monitor (
  id INTEGER PRIMARY KEY, name VARCHAR(150), active BOOLEAN NOT NULL DEFAULT 1, user_id INTEGER,
  interval INTEGER NOT NULL DEFAULT 20, url TEXT, type VARCHAR(20), weight INTEGER DEFAULT 2000,
  hostname VARCHAR(255), port INTEGER, created_date TIMESTAMP, keyword VARCHAR(255),
  maxretries INTEGER NOT NULL DEFAULT 0
);
INSERT INTO monitor (id, name, type, url) VALUES (1, 'Website', 'http', 'https://www.example.com');
INSERT INTO monitor (id, name, type, hostname, port) VALUES (2, 'SSH', 'port', '2001:db8::1', 22);
