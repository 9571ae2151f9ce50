"""Sums per day get other columns. They are a cache of the log: dropped here, made anew."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [('usage', '0001_initial')]

    operations = [
        migrations.DeleteModel(name='DailyUsage'),
        migrations.DeleteModel(name='StaleDay'),
    ]
