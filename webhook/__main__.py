"""`python -m webhook` is `task-resources`."""

from webhook.cli.main import main

main(prog_name="task-resources")
