"""What the stages of one worker share."""

from streams.cluster.producer import ReliableProducer
from streams.cluster.shared_state import SharedState
from streams.memory.users import MemoryUsers
from streams.observability.lag import LagMonitor
from streams.runtime.back_pressure import BackPressure
from streams.runtime.chaining import ChainedStages
from streams.settings import Settings


class WorkerServices:
    """The services of a worker, for each of its stages.

    Attributes:
        producer: publishes the effects of all stages.
        shared_state: this worker's copy of the state that all workers share.
        memory: the stages that release memory under pressure.
        back_pressure: capacity of the stages of the cluster.
        lag: measures the lag of the stages.
        chained_stages: those that process the events of other stages at once.
    """

    def __init__(
        self,
        settings: Settings,
        producer: ReliableProducer,
        *,
        shared_state: SharedState | None = None,
        memory: MemoryUsers | None = None,
        back_pressure: BackPressure | None = None,
        lag: LagMonitor | None = None,
        chained_stages: ChainedStages | None = None,
    ) -> None:
        self.settings = settings
        self.producer = producer
        self.shared_state = shared_state or SharedState()
        self.memory = memory or MemoryUsers()
        self.back_pressure = back_pressure or BackPressure(settings.stage)
        self.lag = lag or LagMonitor()
        self.chained_stages = chained_stages or ChainedStages()
