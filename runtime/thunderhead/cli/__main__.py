"""``python -m thunderhead.cli fit -c config.yaml``: the command line of whatever classes are named on it."""

from thunderhead.cli import LightningCLI

if __name__ == "__main__":
    LightningCLI(parser_kwargs={"prog": "python -m thunderhead.cli"})
