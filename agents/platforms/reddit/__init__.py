"""Reddit: videos that Reddit itself hosts, in posts and crossposts."""
