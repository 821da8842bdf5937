"""What stops poisoning: sanitising samplers, robust learners, and certified bounds."""
