-- The benchmark's tables beside `users`, made by the server itself. Nothing is random: every value follows from the
-- row's number, so the same scale gives the same rows on every machine.

-- name: users_small
-- The first rows of users: what memory and time are compared with as rows grow.
CREATE TABLE users_small (LIKE users);
INSERT INTO users_small SELECT * FROM users WHERE id <= @ROWS@ ORDER BY id;
ALTER TABLE users_small ADD PRIMARY KEY (id);

-- name: users_shuffled
-- The same rows where the order of the heap has nothing to do with the key's.
CREATE TABLE users_shuffled (LIKE users);
INSERT INTO users_shuffled SELECT * FROM users WHERE id <= @ROWS@ ORDER BY md5(id::text);
ALTER TABLE users_shuffled ADD PRIMARY KEY (id);

-- name: narrow
-- Little in a row: what a row itself costs.
CREATE TABLE narrow (a integer NOT NULL, b integer NOT NULL, c integer, d integer);
INSERT INTO narrow
SELECT i, (i::bigint * 2654435761 % 2147483647)::integer, CASE WHEN i % 7 > 0 THEN i % 1000 END, -i
FROM generate_series(1, @ROWS@) AS i;
ALTER TABLE narrow ADD PRIMARY KEY (a);

-- name: wide
-- 120 columns, of types in turn: what a column costs.
DO $do$
DECLARE
  kinds constant text[] := ARRAY['integer', 'text', 'double precision', 'boolean', 'timestamptz', 'numeric(12, 3)'];
  makes constant text[] := ARRAY[
    '(i %% 100000) * %1$s', '''value '' || (i %% 9973) || '' of column %1$s''', '(i * %1$s)::double precision / 7',
    '(i + %1$s) %% 3 = 0', 'timestamptz ''2024-01-01 00:00:00+00'' + (i * %1$s) * interval ''1 second''',
    '((i * %1$s) %% 1000000)::numeric / 1000'];
  columns text := 'id bigint NOT NULL';
  listed text := 'i';
BEGIN
  FOR n IN 1..119 LOOP
    columns := columns || format(', c%s %s', n, kinds[1 + n % 6]);
    -- One value in eleven is NULL.
    listed := listed || format(', CASE WHEN (i + %s) %% 11 > 0 THEN %s END', n, format(makes[1 + n % 6], n));
  END LOOP;
  EXECUTE format('CREATE TABLE wide (%s)', columns);
  EXECUTE format('INSERT INTO wide SELECT %s FROM generate_series(1::bigint, @ROWS@) AS i', listed);
END $do$;
ALTER TABLE wide ADD PRIMARY KEY (id);

-- name: large_values
-- Texts of 1 MiB, stored as they are: what large values cost, without PostgreSQL's own compression.
CREATE TABLE large_values (id bigint NOT NULL, document text);
ALTER TABLE large_values ALTER COLUMN document SET STORAGE EXTERNAL;
INSERT INTO large_values SELECT i, repeat(md5(i::text), 32768) FROM generate_series(1::bigint, @ROWS@) AS i;
ALTER TABLE large_values ADD PRIMARY KEY (id);
