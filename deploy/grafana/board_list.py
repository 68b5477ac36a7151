"""All boards, in the order of the links between them."""

from deploy.grafana.caches import CACHES
from deploy.grafana.overview import OVERVIEW
from deploy.grafana.platforms import PLATFORMS
from deploy.grafana.recovery import RECOVERY
from deploy.grafana.resources import RESOURCES
from deploy.grafana.stages import STAGES

BOARDS = (OVERVIEW, STAGES, PLATFORMS, RECOVERY, CACHES, RESOURCES)
