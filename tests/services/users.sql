-- The demo's users: the same rows for the same number, on every machine and every version of PostgreSQL.
-- Nothing is random: each value follows from the id by arithmetic, so a test can say what any row must hold.
-- About 330 bytes a row as CSV. The awkward values are frequent on purpose.
BEGIN;
DROP TABLE IF EXISTS users;
CREATE TABLE users (
  id         bigint NOT NULL,
  email      text NOT NULL,
  full_name  text,
  bio        text,
  country    char(2),
  is_active  boolean,
  balance    numeric(14, 2),
  score      double precision,
  settings   jsonb,
  tags       text[],
  created_at timestamptz NOT NULL,
  last_login timestamptz,
  birth_date date
);

INSERT INTO users
SELECT
  id,
  'user' || id || '@' || (ARRAY['example.com', 'example.org', 'mail.example.net', 'büro.example'])[1 + h % 4],

  -- Names in the scripts that an export meets; 16 first and 16 last names that go together, one in 97 is NULL.
  CASE WHEN id % 97 = 0 THEN NULL ELSE
    (ARRAY['Ada', 'José', 'Zoë', 'Søren', 'Łucja', 'Анна', 'Дмитро', 'Ελένη', 'محمد', 'שרה', '伟', 'さくら', '민준',
           'आरती', 'สมชาย', '👩🏽‍🚀 Ngọc'])[1 + h % 16]
    || ' ' ||
    (ARRAY['O''Neill', 'García Márquez', 'van der "Berg"', 'Ångström', 'Wójcik', 'Каренина', 'Шевченко', 'Παπαδοπούλου',
           'الخوارزمي', 'כהן', '王', '山田', '김', 'शर्मा', 'ใจดี', 'Nguyễn 🇻🇳'])[1 + h % 16]
  END,

  -- Free text: NULL and the empty string apart, everything that CSV must quote, what a spreadsheet takes for a formula.
  CASE id % 16
    WHEN 0 THEN NULL
    WHEN 1 THEN ''
    WHEN 2 THEN 'says "hello", then ""leaves""'
    WHEN 3 THEN E'two lines,\nthe second after LF'
    WHEN 4 THEN E'two lines,\r\nthe second after CR LF'
    WHEN 5 THEN E'back\\slash \\N \\. and a tab\there'
    WHEN 6 THEN '=SUM(A1:A9)'
    WHEN 7 THEN '+49 30 1234567'
    WHEN 8 THEN '-1, or less'
    WHEN 9 THEN '@mention, ''quoted'''
    WHEN 10 THEN '  spaces around  '
    WHEN 11 THEN 'NULL'
    WHEN 12 THEN 'naïve café — “typographic”, 中文，العربية'
    WHEN 13 THEN E'ends with a line break\n'
    ELSE 'user number ' || id || ' writes a little more than the others do. ' || repeat('Lorem ipsum. ', (h % 70)::int)
  END,

  CASE WHEN id % 61 = 0 THEN NULL ELSE (ARRAY['DE', 'FR', 'IN', 'JP', 'BR', 'US', 'EG', 'IL', 'GR', 'UA'])[1 + h % 10] END,
  CASE WHEN id % 89 = 0 THEN NULL ELSE h % 3 > 0 END,

  -- Exact numbers up to the ends of the type.
  CASE id % 1000
    WHEN 0 THEN NULL
    WHEN 1 THEN 999999999999.99
    WHEN 2 THEN -999999999999.99
    WHEN 3 THEN 0.00
    WHEN 4 THEN -0.01
    ELSE (h % 200000000 - 50000000)::numeric / 100
  END,

  -- Floating point; the values that JSON has no word for are few.
  CASE id % 25000
    WHEN 11 THEN 'NaN'::double precision
    WHEN 12 THEN 'Infinity'::double precision
    WHEN 13 THEN '-Infinity'::double precision
    WHEN 14 THEN 5e-324
    WHEN 15 THEN 1.7976931348623157e308
    WHEN 16 THEN '-0'::double precision
    WHEN 17 THEN NULL
    ELSE (h % 1000003)::double precision / 1000
  END,

  CASE id % 13
    WHEN 0 THEN NULL
    WHEN 1 THEN '{}'
    WHEN 2 THEN '{"theme": "dark", "note": "a \"quoted\" word, a \\ and a \n"}'
    WHEN 3 THEN jsonb_build_object('локаль', 'ru', '言語', jsonb_build_array('日本語', NULL, true, 1.50), 'id', id)
    ELSE jsonb_build_object('theme', CASE WHEN h % 2 = 0 THEN 'dark' ELSE 'light' END, 'id', id,
                            'notify', jsonb_build_object('email', h % 3 = 0, 'hours', jsonb_build_array(8, 17.5)))
  END,

  (CASE id % 11
    WHEN 0 THEN NULL
    WHEN 1 THEN '{}'
    WHEN 2 THEN ARRAY['a', NULL, 'b']
    WHEN 3 THEN ARRAY['with "quotes"', 'with, comma', 'with {braces}', E'back\\slash']
    WHEN 4 THEN ARRAY['', 'NULL', 'новый', '標籤']
    ELSE ARRAY['beta', 'group-' || h % 50]
  END)::text[],

  -- Instants to the microsecond; every eighth user never came back.
  timestamptz '2020-02-29 23:59:59.999999+00' + (id % 2000) * interval '1 day' + (h * 86399 % 86400000000) * interval '1 microsecond',
  CASE WHEN id % 8 = 0 THEN NULL
       ELSE timestamptz '2025-10-26 02:30:00+01' + (h % 31536000) * interval '1 second' END,
  CASE WHEN id % 71 = 0 THEN NULL ELSE date '1930-01-01' + (h % 30000)::int END
FROM (SELECT id, (id * 2654435761 + 40503) % 1000000007 AS h FROM generate_series(1::bigint, @ROWS@) AS id) AS numbered
ORDER BY id;

ALTER TABLE users ADD PRIMARY KEY (id);
COMMIT;
ANALYZE users;
