"""``python -m fedpersona`` is the command line."""

from fedpersona.cli import main

if __name__ == "__main__":
    main()
