"""On PostgreSQL the log is cut into days, and refuses every change of what is written.

A request id is a UUIDv7, so that a day is a range of ids. `x` is the transaction that wrote a
row: roll-ups go by it. Neither is known to the models. Indexes keep their names.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import migrations

PARTITIONED = {"UsageRecord": "request_id", "UsageAttempt": "request_id, number"}
LEDGER = [*PARTITIONED, "UsageAdjustment"]
DAYS_AHEAD = 3
X = "x xid8 NOT NULL DEFAULT pg_current_xact_id()"
REFUSE = """
CREATE FUNCTION usage_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'The ledger is append-only, so % on % is refused. Enter an adjustment instead.',
    TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""


def cut_into_days(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    schema_editor.execute(REFUSE, params=None)
    for name, key in PARTITIONED.items():
        replace_table(schema_editor, apps.get_model("usage", name), key, partitioned=True)
    table = apps.get_model("usage", "UsageAdjustment")._meta.db_table
    schema_editor.execute(f"ALTER TABLE {table} ADD COLUMN {X}")
    for name in LEDGER:
        table = apps.get_model("usage", name)._meta.db_table
        schema_editor.execute(f"CREATE INDEX {table}_x ON {table} (x)")
        schema_editor.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION usage_refuse_change()"
        )


def put_together(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    for name, key in PARTITIONED.items():
        replace_table(schema_editor, apps.get_model("usage", name), key, partitioned=False)
    table = apps.get_model("usage", "UsageAdjustment")._meta.db_table
    schema_editor.execute(f"ALTER TABLE {table} DROP COLUMN x")
    schema_editor.execute(f"DROP TRIGGER {table}_append_only ON {table}")
    schema_editor.execute("DROP FUNCTION usage_refuse_change")


def replace_table(schema_editor, model, key, *, partitioned):
    """Give a table its other form, with the same rows, indexes and names."""
    table = model._meta.db_table
    columns = ", ".join(field.column for field in model._meta.concrete_fields if field.column)
    schema_editor.execute(f"ALTER TABLE {table} RENAME TO {table}_former")
    schema_editor.execute(
        f"ALTER TABLE {table}_former RENAME CONSTRAINT {table}_pkey TO {table}_former_pkey"
    )
    if partitioned:
        make_partitioned(schema_editor, table, key)
    else:
        make_plain(schema_editor, table, key)
    schema_editor.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}_former")
    schema_editor.execute(f"DROP TABLE {table}_former")
    for index in model._meta.indexes:
        schema_editor.add_index(model, index)


def make_partitioned(schema_editor, table, key):
    schema_editor.execute(
        f"CREATE TABLE {table} (LIKE {table}_former INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
        f"{X}, CONSTRAINT {table}_pkey PRIMARY KEY ({key})) PARTITION BY RANGE (request_id)"
    )
    schema_editor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    today = datetime.now(UTC).date()
    ahead = {today + timedelta(days=days) for days in range(DAYS_AHEAD + 1)}
    for day in sorted(ahead | days_in(schema_editor, f"{table}_former")):
        schema_editor.execute(
            f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{lowest_on(day)}') TO ('{lowest_on(day + timedelta(days=1))}')"
        )


def make_plain(schema_editor, table, key):
    schema_editor.execute(
        f"CREATE TABLE {table} (LIKE {table}_former INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
        f"CONSTRAINT {table}_pkey PRIMARY KEY ({key}))"
    )
    schema_editor.execute(f"ALTER TABLE {table} DROP COLUMN x")


def days_in(schema_editor, table):
    """The days of the ids in a table, found along its primary key."""
    days, last = set(), UUID(int=0)
    with schema_editor.connection.cursor() as cursor:
        while True:
            cursor.execute(
                f"SELECT request_id FROM {table} WHERE request_id >= %s ORDER BY 1 LIMIT 1", [last]
            )
            found = cursor.fetchone()
            if found is None:
                return days
            day = datetime.fromtimestamp((found[0].int >> 80) / 1000, tz=UTC).date()
            days.add(day)
            last = lowest_on(day + timedelta(days=1))


def lowest_on(day):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return UUID(int=int(midnight.timestamp()) * 1000 << 80)


class Migration(migrations.Migration):

    dependencies = [('usage', '0003_ledger')]

    operations = [migrations.RunPython(cut_into_days, put_together)]
