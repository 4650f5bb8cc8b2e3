"""What an archive may be given as: a folder, a file that holds others (`packed.PACKED`), a list (`lists.LISTS`)."""
