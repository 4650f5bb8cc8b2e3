"""What an image installs: the dependencies in pyproject.toml beside this file, or in the folder it runs in, with those
of the extras that are named, a line each.

python requirements.py [--without NAME] [EXTRA ...]
"""

import argparse
import re
import tomllib

parser = argparse.ArgumentParser()
parser.add_argument("--without", default="", help="a dependency that the image does not need")
parser.add_argument("extras", nargs="*")
arguments = parser.parse_args()
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
groups = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in arguments.extras)]
for line in dict.fromkeys(line for group in groups for line in group):
    if re.match(r"[\w.-]+", line)[0] != arguments.without:
        print(line)
