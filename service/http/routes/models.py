"""GET /models: what is served, and where it comes from."""

from fastapi import APIRouter

from ..openapi import reply_docs
from ..schemas import ModelCard, Models
from ..service import ServiceDep

router = APIRouter(tags=["models"])


@router.get("/models", summary="The models served", responses=reply_docs("The models.", Models))
async def get_models(service: ServiceDep) -> Models:
    """List each model with its sizes, metrics, training data and hashes."""
    return Models(models=[ModelCard.of(service.tokenizer.manifest)])
