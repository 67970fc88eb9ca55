"""Many jobs to their outcomes, in this process or in others."""
