"""Ground that everything else stands on: names, errors, random streams, contracts and results."""
