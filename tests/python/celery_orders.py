"""The Celery application that the worker runs and the tests call."""

import os
import time

from celery import Celery


def order_service(broker_url):
    app = Celery("orders", broker=broker_url, backend="rpc://", set_as_current=False)
    app.conf.update(
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=False,
        result_expires=60,
    )

    @app.task(name="orders.total", shared=False)
    def total(prices):
        return sum(prices)

    @app.task(name="orders.add", shared=False)
    def add(left, right):
        return left + right

    @app.task(name="orders.flaky", shared=False, bind=True, max_retries=5)
    def flaky(self, fails):
        if self.request.retries < fails:
            raise self.retry(countdown=0.05)
        return f"worked at attempt {self.request.retries + 1}"

    @app.task(name="orders.clock", shared=False)
    def clock():
        return time.time()

    @app.task(name="orders.fail", shared=False)
    def fail(why):
        raise ValueError(why)

    return app


app = order_service(os.environ.get("CELERY_BROKER", "amqp://"))
