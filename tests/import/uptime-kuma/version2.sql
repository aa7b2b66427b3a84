-- The tables and columns of version 2 that an import reads, with monitors of many types.
CREATE TABLE monitor (
  id INTEGER PRIMARY KEY, name VARCHAR(150), active BOOLEAN NOT NULL DEFAULT 1, user_id INTEGER,
  interval INTEGER NOT NULL DEFAULT 60, url TEXT, type VARCHAR(20), weight INTEGER DEFAULT 2000,
  hostname VARCHAR(255), port INTEGER, created_date DATETIME, keyword VARCHAR(255),
  maxretries INTEGER NOT NULL DEFAULT 0, ignore_tls BOOLEAN NOT NULL DEFAULT 0,
  upside_down BOOLEAN NOT NULL DEFAULT 0, maxredirects INTEGER NOT NULL DEFAULT 10,
  accepted_statuscodes_json TEXT NOT NULL DEFAULT '["200-299"]', dns_resolve_type VARCHAR(5),
  dns_resolve_server VARCHAR(255), dns_last_result VARCHAR(255), retry_interval INTEGER NOT NULL DEFAULT 0,
  push_token VARCHAR(32), method TEXT NOT NULL DEFAULT 'GET', body TEXT, headers TEXT,
  basic_auth_user TEXT, basic_auth_pass TEXT, docker_host INTEGER, docker_container VARCHAR(255),
  proxy_id INTEGER, expiry_notification BOOLEAN DEFAULT 1, mqtt_topic TEXT, auth_method VARCHAR(250),
  grpc_url VARCHAR(255), grpc_protobuf TEXT, grpc_body TEXT, grpc_method TEXT, grpc_service_name TEXT,
  grpc_enable_tls BOOLEAN NOT NULL DEFAULT 0, resend_interval INTEGER NOT NULL DEFAULT 0,
  packet_size INTEGER NOT NULL DEFAULT 56, http_body_encoding VARCHAR(25), description TEXT,
  tls_ca TEXT, tls_cert TEXT, tls_key TEXT, parent INTEGER, invert_keyword BOOLEAN NOT NULL DEFAULT 0,
  json_path TEXT, expected_value VARCHAR(255), json_path_operator VARCHAR(255), timeout DOUBLE NOT NULL DEFAULT 0,
  oauth_client_id TEXT, oauth_client_secret TEXT, oauth_token_url TEXT, oauth_scopes TEXT,
  oauth_auth_method TEXT, oauth_audience VARCHAR(255), conditions TEXT NOT NULL DEFAULT '[]',
  smtp_security VARCHAR(255), ws_subprotocol VARCHAR(255) NOT NULL DEFAULT '', ping_count INTEGER NOT NULL DEFAULT 1,
  ping_numeric BOOLEAN NOT NULL DEFAULT 1, ping_per_request_timeout INTEGER NOT NULL DEFAULT 2,
  ip_family BOOLEAN, bearer_token TEXT, expected_tls_alert VARCHAR(50), cache_bust BOOLEAN NOT NULL DEFAULT 0,
  quantum_flux INTEGER
);
CREATE TABLE tag (id INTEGER PRIMARY KEY, name VARCHAR(255), color VARCHAR(255), created_date DATETIME);
CREATE TABLE monitor_tag (id INTEGER PRIMARY KEY, monitor_id INTEGER, tag_id INTEGER, value TEXT);
CREATE TABLE proxy (
  id INTEGER PRIMARY KEY, user_id INTEGER, protocol VARCHAR(10), host VARCHAR(255), port SMALLINT, auth BOOLEAN,
  username VARCHAR(255), password VARCHAR(255), active BOOLEAN, "default" BOOLEAN, created_date DATETIME
);
CREATE TABLE notification (id INTEGER PRIMARY KEY, name VARCHAR(255), active BOOLEAN, user_id INTEGER, is_default BOOLEAN, config TEXT);
CREATE TABLE maintenance (
  id INTEGER PRIMARY KEY, title VARCHAR(150), description TEXT, user_id INTEGER, active BOOLEAN, strategy VARCHAR(50),
  start_date DATETIME, end_date DATETIME, start_time TIME, end_time TIME, weekdays VARCHAR(250), days_of_month TEXT,
  interval_day INTEGER, cron TEXT, timezone VARCHAR(255), duration INTEGER
);
CREATE TABLE monitor_maintenance (id INTEGER PRIMARY KEY, monitor_id INTEGER, maintenance_id INTEGER);

INSERT INTO monitor (id, name, type) VALUES (1, 'Production', 'group');
INSERT INTO monitor (id, name, type, parent) VALUES (2, 'Shops', 'group', 1);
INSERT INTO monitor (id, name, type, url, parent, maxretries, retry_interval, timeout, description)
  VALUES (3, 'Shop', 'http', 'https://shop.example.com/health?token=hunter2', 2, 3, 20, 48, 'The shop.');
INSERT INTO monitor (id, name, type, url, method, body, http_body_encoding, headers, auth_method, basic_auth_user, basic_auth_pass, accepted_statuscodes_json, maxredirects, proxy_id, ignore_tls)
  VALUES (4, 'API', 'keyword', 'https://api.example.com', 'POST', '{"ping": 1}', 'json', '{"X-Key": "hunter2", "Accept": "text/plain"}', 'basic', 'probe', 'hunter2', '["200-299", "301", "500-503"]', 0, 1, 1);
UPDATE monitor SET keyword = 'all (good)', interval = 20 WHERE id = 4;
INSERT INTO monitor (id, name, type, url, json_path, json_path_operator, expected_value, ip_family)
  VALUES (5, 'JSON', 'json-query', 'http://json.example.com', '$.data[0].count', '>=', '5', 'ipv6');
INSERT INTO monitor (id, name, type, url, json_path, json_path_operator, expected_value)
  VALUES (6, 'JSONata', 'json-query', 'http://json.example.com', '$sum(items.price)', '==', '5');
INSERT INTO monitor (id, name, type, hostname, port) VALUES (7, 'Database', 'port', 'db.example.com', 5432);
INSERT INTO monitor (id, name, type, hostname, ping_count, timeout) VALUES (8, 'Router', 'ping', '192.0.2.1', 3, 10);
INSERT INTO monitor (id, name, type, hostname, port, dns_resolve_type, dns_resolve_server, conditions)
  VALUES (9, 'Resolver', 'dns', 'example.com', 53, 'A', '192.0.2.53, 192.0.2.54', '[{"type":"expression","andOr":"and","variable":"record","operator":"equals","value":"192.0.2.1"}]');
INSERT INTO monitor (id, name, type, push_token) VALUES (10, 'Backup', 'push', 'hunter2');
INSERT INTO monitor (id, name, type, url, upside_down) VALUES (11, 'Closed', 'http', 'https://closed.example.com', 1);
INSERT INTO monitor (id, name, type, url, active) VALUES (12, 'Paused', 'http', 'https://paused.example.com', 0);
INSERT INTO monitor (id, name, type, url, auth_method, oauth_client_id, oauth_client_secret, oauth_token_url, oauth_scopes, oauth_audience)
  VALUES (13, 'OAuth', 'http', 'https://oauth.example.com', 'oauth2-cc', 'probe', 'hunter2', 'https://login.example.com/token', 'read write', 'shop');
INSERT INTO monitor (id, name, type, url, auth_method, tls_cert, tls_key)
  VALUES (14, 'mTLS', 'http', 'https://mtls.example.com', 'mtls', NULL, '-----BEGIN PRIVATE KEY----- hunter2');
INSERT INTO monitor (id, name, type, url, ws_subprotocol, auth_method, bearer_token)
  VALUES (15, 'Chat', 'websocket-upgrade', 'wss://chat.example.com', 'chat.v1, chat.v2', 'bearer', 'hunter2');
INSERT INTO monitor (id, name, type, grpc_url, grpc_service_name, grpc_method, grpc_body, keyword, grpc_enable_tls)
  VALUES (16, 'Orders', 'grpc-keyword', 'orders.example.com:443', 'grpc.health.v1.Health', 'check', '{"service": "shop.Orders"}', 'SERVING', 1);
INSERT INTO monitor (id, name, type, hostname, port, smtp_security) VALUES (17, 'Mail', 'smtp', 'mail.example.com', 587, 'starttls');
INSERT INTO monitor (id, name, type, docker_container) VALUES (18, 'Container', 'docker', 'web');
INSERT INTO monitor (id, name, type, url, quantum_flux) VALUES (19, 'Shop', 'http', 'https://shop.example.org', 7);
INSERT INTO monitor (id, name, type, url, auth_method) VALUES (20, 'Windows', 'http', 'https://windows.example.com', 'ntlm');
INSERT INTO tag (id, name) VALUES (1, 'team'), (2, 'type'), (3, 'critical');
INSERT INTO monitor_tag (monitor_id, tag_id, value) VALUES (3, 1, 'web'), (3, 1, 'ops'), (3, 2, 'shop'), (3, 3, ''), (7, 1, 'data');
INSERT INTO proxy (id, protocol, host, port, auth, username, password, active) VALUES (1, 'http', 'proxy.example.com', 3128, 1, 'probe', 'hunter2', 1);
INSERT INTO notification (id, name, active, config) VALUES (1, 'Chat room', 1, '{"webhook": "hunter2"}');
INSERT INTO maintenance (id, title, active, strategy, weekdays, start_time, end_time, timezone)
  VALUES (1, 'Updates', 1, 'recurring-weekday', '[0]', '02:00', '04:00', 'Europe/Berlin');
INSERT INTO maintenance (id, title, active, strategy, start_date, end_date, timezone)
  VALUES (2, 'Move', 1, 'single', '2099-06-01 20:00', '2099-06-02 04:00:00', 'UTC'),
         (3, 'Past move', 1, 'single', '2020-06-01 20:00', '2020-06-02 04:00', 'UTC');
INSERT INTO maintenance (id, title, active, strategy, start_date, end_date, start_time, end_time, interval_day, timezone)
  VALUES (4, 'Backup', 1, 'recurring-interval', '2024-01-01 00:00', NULL, '23:30', '00:15', 1, 'SAME_AS_SERVER'),
         (5, 'Every third day', 1, 'recurring-interval', NULL, NULL, '01:00', '02:00', 3, 'UTC'),
         (6, 'Next year', 1, 'recurring-interval', '2099-01-01 00:00', '2099-12-31 00:00', '01:00', '02:00', 1, 'UTC'),
         (12, 'Until then', 1, 'recurring-interval', '2024-01-01 00:00', '2099-12-31 00:00', '01:00', '02:00', 1, 'UTC');
INSERT INTO maintenance (id, title, active, strategy, days_of_month, start_time, end_time, timezone)
  VALUES (7, 'Accounts', 1, 'recurring-day-of-month', '["lastDay1", "lastDay2", 15]', '05:00', '06:30', 'America/New_York');
INSERT INTO maintenance (id, title, active, strategy, cron, duration, timezone)
  VALUES (8, 'Reports', 1, 'cron', '30 4 * * 1-5', 5400, 'UTC');
INSERT INTO maintenance (id, title, active, strategy) VALUES (9, 'By hand', 1, 'manual'), (10, 'Off', 0, 'manual'), (11, 'Of nothing', 1, 'manual');
INSERT INTO monitor_maintenance (monitor_id, maintenance_id)
  VALUES (3, 1), (4, 1), (1, 2), (3, 3), (7, 4), (7, 5), (8, 6), (1, 7), (3, 7), (9, 8), (9, 9), (9, 10), (10, 11), (8, 12);
