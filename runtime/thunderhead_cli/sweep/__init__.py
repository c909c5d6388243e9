"""``thunderhead sweep``: trials of one job file, with parameters that Optuna chooses."""
