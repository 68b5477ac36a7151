"""From the settings to the way out that all tools share."""

from agents.network.egress import Egress
from agents.network.trust import write_ca_bundle
from streams.settings import Settings


def open_egress(settings: Settings) -> Egress:
    """Return the way out of the settings, with the bundle of trusted roots written.

    Raises:
        ClipmillError: ``system.config``, the file with the additional roots cannot be used.
    """
    chosen = settings.egress
    if chosen.ca_file is None:
        return Egress(proxy=chosen.proxy)
    bundle = write_ca_bundle(chosen.ca_file, settings.data_dir / "ca-bundle.pem")
    return Egress(proxy=chosen.proxy, ca_file=chosen.ca_file, ca_bundle=bundle)
