"""What the monitor keeps: breakers and rates, as rows and as news."""
