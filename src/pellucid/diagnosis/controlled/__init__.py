"""What short trainings tell that differ in one thing."""
