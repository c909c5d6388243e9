"""User code that the scenarios train; each file is shipped to the job as it is."""
