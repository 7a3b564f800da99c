"""``python -m fedpersona.cli``."""

from fedpersona.cli.main import main

if __name__ == "__main__":
    main()
