"""`python -m tuner`: the command line without the installed script."""

from tuner.cli import main

if __name__ == "__main__":
    main()
