"""Effects: what decisions ask of a cluster, behind one protocol with two implementations."""
