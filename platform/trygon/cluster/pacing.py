"""How fast Ray Data's loop turns."""

import time

from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback


def pace(context: DataContext, pause_s: float = 0.01) -> None:
    """Have the pipelines of this process breathe between the rounds of their loop.

    While blocks wait for a slower stage, which is how a pipeline should be, Ray 2.60's loop turns without a breath: it
    takes a core, and in a training worker the interpreter too. A round takes some 4 ms there.
    """

    class Pause(ExecutionCallback):
        def on_execution_step(self, executor: object) -> None:
            time.sleep(pause_s)

    context.custom_execution_callback_classes = [Pause]
