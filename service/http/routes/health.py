"""GET /healthz, /readyz and /metrics: for whoever keeps the service running."""

from fastapi import APIRouter
from starlette.responses import Response

from ...errors import NotReadyError, StoppingError
from ..metrics import METRICS_MEDIA_TYPE
from ..openapi import reply_docs
from ..parameters import NoParameters
from ..schemas import Health, Readiness
from ..service import ServiceDep

router = APIRouter(tags=["operation"], dependencies=[NoParameters])


@router.get("/healthz", summary="Is the process alive?", responses=reply_docs("It is.", Health))
async def get_health() -> Health:
    """Answer as long as the event loop turns; a failure here means: restart the process."""
    return Health()


@router.get(
    "/readyz",
    summary="Does the model answer?",
    responses=reply_docs("It does.", Readiness, errors=(NotReadyError, StoppingError)),
)
async def get_readiness(service: ServiceDep) -> Readiness:
    """Answer 200 while every model has run in the last seconds, until the server is told to stop.

    Of several workers, the one that has the connection answers for itself, for it is the one that will answer
    the requests on it; connections go only to workers that are up. The metric kohonen_workers tells of all.
    """
    service.require_ready()
    return Readiness()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses=reply_docs(
        "Counters, gauges and histograms.", None, binary={"text/plain": "Prometheus' format"}
    ),
)
async def get_metrics(service: ServiceDep) -> Response:
    """Expose what the service counts and times."""
    service.metrics.refresh(is_ready=service.is_ready)
    return Response(service.metrics.expose(), media_type=METRICS_MEDIA_TYPE)
