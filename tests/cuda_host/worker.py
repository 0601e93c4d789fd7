"""A process that runs functions of one compiled module, without PyTorch: python worker.py module.so

Reads pickled (function name, keyword arguments) from standard input and writes pickled (result, error) to what was
standard output; whatever else prints goes to standard error.
"""

import importlib.util
import os
import pickle
import sys


def main():
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    name = os.path.basename(sys.argv[1]).split(".")[0]
    spec = importlib.util.spec_from_file_location(name, sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = getattr(module, function)(**arguments), None
        except Exception as error:
            answer = None, str(error)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
