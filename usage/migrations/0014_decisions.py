"""Why each request went as it did: beside the log, on PostgreSQL cut into days like it."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


DAYS_AHEAD = 3


def cut_into_days(apps, schema_editor):
    if schema_editor.connection.vendor != "postgresql":
        return
    model = apps.get_model("usage", "Decision")
    table = model._meta.db_table
    schema_editor.execute(f"ALTER TABLE {table} RENAME TO {table}_former")
    schema_editor.execute(
        f"ALTER TABLE {table}_former RENAME CONSTRAINT {table}_pkey TO {table}_former_pkey"
    )
    schema_editor.execute(
        f"CREATE TABLE {table} (LIKE {table}_former INCLUDING DEFAULTS INCLUDING CONSTRAINTS, "
        f"CONSTRAINT {table}_pkey PRIMARY KEY (request_id)) PARTITION BY RANGE (request_id)"
    )
    schema_editor.execute(f"DROP TABLE {table}_former")
    # Its index is made at the end of the migration, by name, and so on the new table.
    schema_editor.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    today = datetime.now(UTC).date()
    for day in (today + timedelta(days=days) for days in range(DAYS_AHEAD + 1)):
        schema_editor.execute(
            f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table} "
            f"FOR VALUES FROM ('{lowest_on(day)}') TO ('{lowest_on(day + timedelta(days=1))}')"
        )
    schema_editor.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION usage_refuse_change()"
    )


def lowest_on(day):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return UUID(int=int(midnight.timestamp()) * 1000 << 80)


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_budget_windows'),
        ('usage', '0013_revision'),
    ]

    operations = [
        migrations.AlterField(
            model_name='purgereceipt',
            name='kind',
            field=models.CharField(choices=[('records', 'Requests'), ('attempts', 'Upstream attempts'), ('adjustments', 'Adjustments'), ('hourly', 'Hourly sums'), ('exports', 'Files of exports'), ('decisions', 'Decision records')], max_length=12, verbose_name='what'),
        ),
        migrations.CreateModel(
            name='Decision',
            fields=[
                ('request_id', models.UUIDField(primary_key=True, serialize=False)),
                ('recorded_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('told', models.TextField()),
                ('refusal', models.CharField(blank=True, default='', max_length=48)),
                ('status', models.PositiveSmallIntegerField(default=0)),
                ('key_name', models.CharField(blank=True, default='', max_length=100, verbose_name='API key')),
                ('team_name', models.CharField(blank=True, default='', max_length=100, verbose_name='team')),
                ('operation', models.CharField(blank=True, default='', max_length=24)),
                ('model_asked', models.CharField(blank=True, default='', max_length=200)),
                ('key', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='accounts.apikey')),
                ('team', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='accounts.team')),
            ],
            options={
                'verbose_name': 'refused request',
                'ordering': ['-request_id'],
                'indexes': [models.Index(condition=models.Q(('refusal', ''), _negated=True), fields=['-request_id'], name='usage_decision_refused')],
            },
        ),
        # To undo it, the table goes, and its partitions and its trigger with it.
        migrations.RunPython(cut_into_days, migrations.RunPython.noop),
    ]
