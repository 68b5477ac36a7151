"""clipmill with Prometheus, Alertmanager and the boards on one box, without containers."""
