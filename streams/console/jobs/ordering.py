"""Creates and stops jobs for their users, whose orders are recorded."""

import asyncio
import time

from streams.client import RequestProducer
from streams.console.jobs.job import BulkJob
from streams.console.jobs.planning import JobOrder, plan_job
from streams.console.jobs.store import JobStore
from streams.console.orders import record_order, text_of
from streams.console.services import Services


async def create_job(services: Services, order: JobOrder) -> BulkJob:
    """Record an order, add its job, and return it.

    Raises:
        CallError: 409, it applies to no request, or to more than the user has confirmed.
        BrokerTimeoutError: Kafka did not acknowledge the record in time.
    """
    job, number = await asyncio.to_thread(plan_job, services.store, order, time.time())
    await record_order(
        services.producer,
        "retry_all" if job.command == "retry" else "cancel_all",
        job.by,
        subject=job.id,
        count=number,
        note=text_of({**job.filter_texts, **job.option_texts}),
    )
    await asyncio.to_thread(services.jobs.add, job)
    return job


async def stop_job(
    jobs: JobStore, producer: RequestProducer, job_id: str, by: str
) -> BulkJob | None:
    """Record the order, and stop a job, unless it has ended; return it, None for an unknown id.

    Raises:
        BrokerTimeoutError: Kafka did not acknowledge the record in time.
    """
    job = await asyncio.to_thread(jobs.job, job_id)
    if job is None:
        return None
    left = max(job.total - job.processed, 0)
    await record_order(producer, "stop_job", by, subject=job_id, count=left)
    return await asyncio.to_thread(jobs.stop, job_id, time.time())
