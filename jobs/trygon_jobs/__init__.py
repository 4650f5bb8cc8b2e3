"""One module a job: a frozen config and `main(config)`. `trygon_jobs.cli` is the command line in front of them."""
