"""``python -m jaxcalc``: the command line."""

from jaxcalc.lab.cli import entry

if __name__ == "__main__":
    entry()
