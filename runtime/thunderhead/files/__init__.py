"""Files of people: where they lie, how one is written whole, and what is read from it."""
