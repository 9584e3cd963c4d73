"""What can go wrong around the service, done to it on purpose."""
