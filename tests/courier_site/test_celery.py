import pytest
from celery import Task, current_app
from django.utils.module_loading import import_string

from courier_site.celery import app


def test_tasks_of_any_app_belong_to_couriers_celery():
    assert current_app.main == "courier"


def test_only_json_is_accepted():
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_results_are_not_kept():
    assert app.conf.task_ignore_result


def test_a_task_that_a_dying_worker_left_is_done_again():
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost


def test_without_redis_the_queue_is_a_folder_of_the_data_directory(settings):
    if settings.REDIS_URL:
        pytest.skip("This run has Redis.")

    assert app.conf.broker_url.startswith("filesystem://")
    assert app.conf.broker_transport_options["data_folder_in"] == str(settings.DATA_DIR / "queue")


def test_every_scheduled_task_exists():
    for entry in app.conf.beat_schedule.values():
        assert isinstance(import_string(entry["task"]), Task)


def test_ticks_do_not_pile_up_while_no_worker_runs():
    for entry in app.conf.beat_schedule.values():
        pause = entry["schedule"]
        # What is due at a time of the day is due once a day.
        assert entry["options"]["expires"] <= (pause if isinstance(pause, int) else 86_400)
