"""Lightning as a peer: the same seed, module and data through both trainers; what differs is found and named."""
