"""`python -m trygon_jobs`: the command line, for clusters where no script is installed."""

from trygon_jobs.cli import main

if __name__ == "__main__":
    main()
